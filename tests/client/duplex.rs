//! Both directions at once; the whole gigabyte is `cargo run --release --example two_threads`.

#[allow(dead_code, reason = "its main")]
#[path = "../../examples/two_threads.rs"]
mod two_threads;

#[test]
fn two_threads_send_and_receive_without_waiting_for_each_other() {
    let total = 32 << 20;
    let report = two_threads::run(total).unwrap();
    assert!(report.outcome.was_clean(), "{}", report.outcome);
    assert_eq!((report.bytes, report.messages_sent), (total, report.messages_received));
    assert!(report.pings_answered > 0);
}
