/// Small letters, which stay ASCII when they are masked with [`KEY`](crate::KEY).
pub fn letters(length: usize) -> Vec<u8> {
    (b'a'..=b'z').cycle().take(length).collect()
}

/// Text of two, three and four bytes a character, with some ASCII in between.
///
/// # Panics
///
/// If `length` is 0.
pub fn non_ascii(length: usize) -> Vec<u8> {
    const PHRASE: &str = "Grüße, привет, мир: 你好，世界 こんにちは 🙂 and so on. ";
    let mut text = PHRASE.repeat(length / PHRASE.len() + 1);
    let end = (0..=length).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    text.truncate(end);
    text.extend(std::iter::repeat_n('.', length - end));
    text.into_bytes()
}

/// What a trading floor or a chat would send: JSON of exactly `length` bytes. Messages with different
/// numbers are alike, and not the same.
pub fn json(length: usize, number: usize) -> Vec<u8> {
    const NAMES: [&str; 8] = ["ada", "boris", "chen", "dolores", "emil", "fatima", "goro", "hana"];
    const WORDS: [&str; 12] = [
        "limit", "order", "of", "the", "morning", "was", "filled", "at", "once", "after", "review",
        "today",
    ];
    let mut state = 0x9e37_79b9_7f4a_7c15 ^ (number as u64 + 1).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let mut below = |limit: u64| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 16) % limit
    };
    let mut text = format!("{{\"sequence\":{},\"events\":[", below(1_000_000));
    while text.len() < length {
        let name = NAMES[below(8) as usize];
        let (id, user, price) = (below(u64::MAX), below(100_000), below(1_000_000));
        text += &format!("{{\"id\":\"{id:016x}\",\"user\":{{\"name\":\"{name}\",\"id\":{user}}},");
        text += &format!("\"price\":{}.{:02},\"text\":\"", price / 100, price % 100);
        for _ in 0..3 + below(9) {
            text += WORDS[below(12) as usize];
            text.push(' ');
        }
        text += "\"},";
    }
    text.truncate(length);
    text.into_bytes()
}
