//! What the threads of the cluster say, to the `log` crate under the target `framewire_cluster`; never what is in messages.

/// Says one line, at a level of the `log` crate: `say!(Warn, "…")`.
macro_rules! say {
    ($level:ident, $($message:tt)+) => {{
        #[cfg(feature = "log")]
        ::log::log!(target: "framewire_cluster", ::log::Level::$level, $($message)+);
        #[cfg(not(feature = "log"))]
        let _ = format_args!($($message)+);
    }};
}

pub(crate) use say;
