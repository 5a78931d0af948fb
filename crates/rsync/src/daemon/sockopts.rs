//! `socket options` and `--sockopts`: words to options of a socket.
//!
//! Called by `listen` for each socket it accepts from, and inherited by what it accepts, and by a
//! client for the socket to a daemon.

use std::time::Duration;

use socket2::SockRef;

/// Sets the options named in a list split at blanks and commas. What cannot be set is told, one
/// line each, and changes nothing.
pub fn apply(socket: &SockRef<'_>, list: &[u8]) -> Vec<String> {
    let words = list.split(|b| *b == b',' || b.is_ascii_whitespace());
    let words = words.filter(|word| !word.is_empty());
    words.filter_map(|word| set(socket, &String::from_utf8_lossy(word)).err()).collect()
}

fn set(socket: &SockRef<'_>, word: &str) -> Result<(), String> {
    let (name, value) = match word.split_once('=') {
        Some((name, value)) => (name.trim(), value.trim()),
        None => (word, "1"),
    };
    let number: u32 = value.parse().unwrap_or(0);
    let on = number != 0;
    let size = usize::try_from(number).unwrap_or(usize::MAX);
    let time = Some(Duration::from_secs(u64::from(number))).filter(|time| !time.is_zero());
    let done = match name.to_ascii_uppercase().as_str() {
        "SO_KEEPALIVE" => socket.set_keepalive(on),
        "SO_REUSEADDR" => socket.set_reuse_address(on),
        "SO_BROADCAST" => socket.set_broadcast(on),
        "TCP_NODELAY" => socket.set_tcp_nodelay(on),
        "IPTOS_LOWDELAY" => socket.set_tos_v4(0x10),
        "IPTOS_THROUGHPUT" => socket.set_tos_v4(0x08),
        "SO_SNDBUF" => socket.set_send_buffer_size(size),
        "SO_RCVBUF" => socket.set_recv_buffer_size(size),
        "SO_SNDTIMEO" => socket.set_write_timeout(time),
        "SO_RCVTIMEO" => socket.set_read_timeout(time),
        // The system has the first read-only and counts the second in bytes that a poll would
        // wait for, which would stall a session.
        "SO_SNDLOWAT" | "SO_RCVLOWAT" => {
            return Err(format!("socket option {name} is not implemented here"));
        }
        _ => return Err(format!("Unknown socket option {name}")),
    };
    done.map_err(|error| {
        format!("failed to set socket option {name}: {}", super::log::cause(&error))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_set_options_and_the_rest_is_told() {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let socket = SockRef::from(&listener);
        let remarks = apply(&socket, b"SO_KEEPALIVE, tcp_nodelay=1 FOO=3,SO_RCVBUF=65536");
        assert_eq!(remarks, ["Unknown socket option FOO"]);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        assert!(apply(&socket, b"SO_KEEPALIVE=0").is_empty());
        assert!(!socket.keepalive().unwrap());
    }
}
