use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::{Client, Connection, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo};
use redis::{RedisConnectionInfo, RedisResult};

use crate::config::Config;

/// Where a Sentinel listens if the URL does not say.
const SENTINEL_PORT: u16 = 26379;

/// Where Redis may be: at one address, at one of several, or where Sentinels say.
pub(crate) struct Servers {
    places: Vec<ConnectionInfo>,
    /// What the Sentinels, which are the places then, call the primary and its replicas.
    service: Option<String>,
    /// The place that has answered last, which all threads try first.
    last: AtomicUsize,
}

impl Servers {
    /// Reads a URL as [`Config::new`] describes it.
    pub(crate) fn of(config: &Config, url: &str) -> RedisResult<Self> {
        let (urls, service) = split(url)?;
        let places = urls.iter().map(|url| {
            let info = url.as_str().into_connection_info()?;
            Ok(client(config, info)?.get_connection_info().clone())
        });
        Ok(Self { places: places.collect::<RedisResult<_>>()?, service, last: AtomicUsize::new(0) })
    }

    /// Connects to the primary, and waits for each place for no longer than the patience.
    pub(crate) fn connect(&self, patience: Duration) -> RedisResult<Connection> {
        let first = self.last.load(Ordering::Relaxed);
        let count = self.places.len();
        let mut last_error = None;
        for index in (first..count).chain(0..first) {
            match self.connect_by(&self.places[index], patience) {
                Ok(connection) => {
                    self.last.store(index, Ordering::Relaxed);
                    return Ok(connection);
                }
                // What is said of the place that was right until now says more than what the others say.
                Err(error) => last_error = last_error.or(Some(error)),
            }
        }
        Err(last_error.expect("there is a place"))
    }

    fn connect_by(&self, place: &ConnectionInfo, patience: Duration) -> RedisResult<Connection> {
        let Some(service) = &self.service else {
            let mut connection = open(place.clone(), patience)?;
            if self.places.len() > 1 {
                must_be_primary(&mut connection)?;
            }
            return Ok(connection);
        };
        let anonymous =
            ConnectionInfo { addr: place.addr.clone(), redis: RedisConnectionInfo::default() };
        let mut sentinel = open(anonymous, patience)?;
        let found: Option<(String, u16)> = redis::cmd("SENTINEL")
            .arg("GET-MASTER-ADDR-BY-NAME")
            .arg(service)
            .query(&mut sentinel)?;
        let Some(found) = found else {
            return Err((
                ErrorKind::MasterNameNotFoundBySentinel,
                "Sentinel knows no such service",
            )
                .into());
        };
        let mut connection = open(at(place, found), patience)?;
        // A Sentinel may not have heard yet.
        must_be_primary(&mut connection)?;
        Ok(connection)
    }
}

/// With the certificates that were configured.
#[cfg(feature = "tls-rustls")]
fn client(config: &Config, info: ConnectionInfo) -> RedisResult<Client> {
    // Without a provider, or with a choice between two, rustls panics. One that the application has chosen stays.
    let _ = framewire::rustls::crypto::ring::default_provider().install_default();
    if config.certificates.root_cert.is_none() && config.certificates.client_tls.is_none() {
        return Client::open(info);
    }
    Client::build_with_tls(info, config.certificates.clone())
}

#[cfg(not(feature = "tls-rustls"))]
fn client(_: &Config, info: ConnectionInfo) -> RedisResult<Client> {
    Client::open(info)
}

/// A connection on which nothing waits for ever.
fn open(info: ConnectionInfo, patience: Duration) -> RedisResult<Connection> {
    let connection = Client::open(info)?.get_connection_with_timeout(patience)?;
    connection.set_read_timeout(Some(patience))?;
    connection.set_write_timeout(Some(patience))?;
    Ok(connection)
}

/// The same credentials and the same kind of connection, at another address.
fn at(place: &ConnectionInfo, (host, port): (String, u16)) -> ConnectionInfo {
    let mut info = place.clone();
    match &mut info.addr {
        ConnectionAddr::TcpTls { host: old, port: old_port, .. } => {
            (*old, *old_port) = (host, port);
        }
        addr => *addr = ConnectionAddr::Tcp(host, port),
    }
    info
}

/// `HELLO` says what a server is to whoever may do nothing else.
fn must_be_primary(connection: &mut Connection) -> RedisResult<()> {
    let told: Vec<redis::Value> = redis::cmd("HELLO").query(connection)?;
    let is = |value: &redis::Value, text: &str| matches!(value, redis::Value::BulkString(bytes) if bytes == text.as_bytes());
    let role = told.chunks_exact(2).find(|pair| is(&pair[0], "role"));
    if role.is_some_and(|pair| is(&pair[1], "master")) {
        return Ok(());
    }
    Err((ErrorKind::MasterDown, "it is a replica").into())
}

/// The URLs of all addresses that a URL has, and the service of which Sentinels are asked.
fn split(url: &str) -> RedisResult<(Vec<String>, Option<String>)> {
    let whole = || Ok((vec![url.to_owned()], None));
    let Some((scheme, rest)) = url.split_once("://") else { return whole() };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, rest) = rest.split_at(end);
    let (user, hosts) = match authority.rsplit_once('@') {
        Some((user, hosts)) => (format!("{user}@"), hosts),
        None => (String::new(), authority),
    };
    let Some(scheme) = scheme.strip_suffix("+sentinel") else {
        if !hosts.contains(',') {
            return whole();
        }
        let urls = hosts.split(',').map(|host| format!("{scheme}://{user}{host}{rest}"));
        return Ok((urls.collect(), None));
    };
    let path = rest.strip_prefix('/').unwrap_or_default();
    let end = path.find(['/', '?', '#']).unwrap_or(path.len());
    let (service, rest) = path.split_at(end);
    if service.is_empty() {
        return Err(
            (ErrorKind::InvalidClientConfig, "it does not say what the Sentinels call it").into()
        );
    }
    let urls = hosts.split(',').map(|host| {
        // The colons of an IPv6 address are in brackets.
        let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.contains(']'));
        let port = if has_port { String::new() } else { format!(":{SENTINEL_PORT}") };
        format!("{scheme}://{user}{host}{port}{rest}")
    });
    Ok((urls.collect(), Some(service.to_owned())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_name_one_address_or_several_or_sentinels() {
        let split = |url| {
            let (urls, service) = split(url).unwrap();
            (urls.join(" "), service.unwrap_or_default())
        };
        for alone in ["redis://a", "redis+unix:///a,b?user=c", "a,b", "redis://:a,b@c/1"] {
            assert_eq!(split(alone), (alone.to_owned(), String::new()));
        }
        let several = "redis://u:p@a:1,b/2 redis://u:p@b/2".replace(",b/2", "/2");
        assert_eq!(split("redis://u:p@a:1,b/2"), (several, String::new()));
        let sentinels = "rediss://u:p@a:26379/2 rediss://u:p@[::1]:26379/2 rediss://u:p@c:9/2";
        assert_eq!(
            split("rediss+sentinel://u:p@a,[::1],c:9/main/2"),
            (sentinels.to_owned(), "main".to_owned())
        );
        let nameless = "redis+sentinel://a";
        assert!(Servers::of(&Config::new(nameless), nameless).is_err());
    }
}
