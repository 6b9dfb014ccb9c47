//! Which Redis of several has a topic: the one whose number has the highest hash together with the topic. Whoever adds one moves
//! only the topics that go to it. All nodes must agree, of all versions: the hash is part of what they have in common.

/// The number of the Redis of a topic, or of a user.
pub(crate) fn choose(name: &str, count: usize) -> usize {
    if count == 1 {
        return 0;
    }
    let hash = fnv_1a(name.as_bytes());
    (0..count).max_by_key(|&number| mix(hash ^ mix(number as u64 + 1))).unwrap_or(0)
}

fn fnv_1a(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// The finalizer of `MurmurHash3`: each bit of the input changes half of those of the output.
fn mix(mut hash: u64) -> u64 {
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_are_spread_evenly_and_move_only_to_one_that_is_new() {
        let topics: Vec<String> = (0..10_000).map(|number| format!("room/{number}")).collect();
        for count in 1..8 {
            let mut moved = 0;
            for topic in &topics {
                let (before, after) = (choose(topic, count), choose(topic, count + 1));
                assert!(after == before || after == count);
                moved += usize::from(after != before);
            }
            let share = topics.len() / (count + 1);
            assert!(moved.abs_diff(share) < share / 10, "{moved} to one of {}", count + 1);
        }
    }

    #[test]
    fn all_versions_agree() {
        let chosen: Vec<usize> =
            ["", "news", "room/1", "room/2", "Übung"].map(|topic| choose(topic, 5)).into();
        assert_eq!(chosen, [2, 3, 2, 2, 4]);
    }
}
