//! The closing statistics of a client: the `--stats` block and the two lines of `-v`.

use std::time::Duration;

use wire::version::Protocol;

use super::number::{format_decimal, format_number};
use crate::counters::{Counters, KindCounts};
use crate::options::Options;

/// What the info level `stats` asks for: nothing, the two lines, or the block and the two lines,
/// each preceded by an empty line. `protocol` is the negotiated one, `elapsed` the time since the run began.
pub fn render(
    counters: &Counters,
    options: &Options,
    protocol: Protocol,
    elapsed: Duration,
) -> Vec<u8> {
    let mut text = String::new();
    if options.info.stats >= 2 {
        block(&mut text, counters, options, protocol);
    }
    if options.info.stats >= 1 {
        two_lines(&mut text, counters, options, elapsed);
    }
    text.into_bytes()
}

fn number(value: u64, human: u8) -> String {
    format_number(i64::try_from(value).unwrap_or(i64::MAX), human)
}

fn block(text: &mut String, c: &Counters, options: &Options, protocol: Protocol) {
    let human = options.human;
    // Counts of items never take a suffix.
    let count = |value| number(value, human.min(1));
    let size = |value| number(value, human);
    let mut line = |label: &str, value: String| text.push_str(&format!("{label}: {value}\n"));
    line("\nNumber of files", kinds(&c.listed, &count));
    if protocol.has_item_flags() {
        line("Number of created files", kinds(&c.created, &count));
    }
    if protocol.has_del_stats() {
        line("Number of deleted files", kinds(&c.deleted, &count));
    }
    line("Number of regular files transferred", count(c.transferred));
    line("Total file size", size(c.total_size) + " bytes");
    line("Total transferred file size", size(c.transferred_size) + " bytes");
    line("Literal data", size(c.literal) + " bytes");
    line("Matched data", size(c.matched) + " bytes");
    line("File list size", size(c.flist_size));
    if c.flist_build_ms > 0 {
        let seconds = |ms: u64| format!("{}.{:03} seconds", ms / 1000, ms % 1000);
        line("File list generation time", seconds(c.flist_build_ms));
        line("File list transfer time", seconds(c.flist_xfer_ms));
    }
    line("Total bytes sent", size(c.sent));
    line("Total bytes received", size(c.received));
}

/// `6 (reg: 2, dir: 2, link: 1, special: 1)`; kinds without an item are left out.
fn kinds(by: &KindCounts, count: &dyn Fn(u64) -> String) -> String {
    let named = [
        ("reg", by.files),
        ("dir", by.dirs),
        ("link", by.links),
        ("dev", by.devices),
        ("special", by.specials),
    ];
    let present: Vec<String> = named
        .iter()
        .filter(|(_, n)| *n > 0)
        .map(|(name, n)| format!("{name}: {}", count(*n)))
        .collect();
    match present.is_empty() {
        true => count(by.total()),
        false => format!("{} ({})", count(by.total()), present.join(", ")),
    }
}

fn two_lines(text: &mut String, c: &Counters, options: &Options, elapsed: Duration) {
    let human = options.human;
    let moved = c.sent.saturating_add(c.received);
    let rate = moved as f64 / (0.5 + elapsed.as_secs_f64());
    // A run that moved nothing at all has no meaningful ratio; the reference shows 0.00 too.
    let speedup = if moved == 0 { 0.0 } else { c.total_size as f64 / moved as f64 };
    let dry = match (options.batch.only, options.dry_run) {
        (true, _) => " (BATCH ONLY)",
        (_, true) => " (DRY RUN)",
        _ => "",
    };
    text.push_str(&format!(
        "\nsent {} bytes  received {} bytes  {} bytes/sec\ntotal size is {}  speedup is {}{dry}\n",
        number(c.sent, human),
        number(c.received, human),
        format_decimal(rate, 2, human),
        number(c.total_size, human),
        format_decimal(speedup, 2, human),
    ));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::options::info::InfoLevels;

    #[test]
    fn block_as_the_reference_prints_it() {
        let mut options = Options::default();
        options.info = InfoLevels { stats: 2, ..options.info };
        let listed = KindCounts { files: 2, dirs: 2, links: 1, devices: 0, specials: 1 };
        let counters = Counters {
            listed,
            created: KindCounts { dirs: 1, ..listed },
            transferred: 2,
            total_size: 3_000_006,
            transferred_size: 3_000_005,
            literal: 3_000_005,
            flist_build_ms: 1,
            sent: 3_000_974,
            received: 68,
            ..Counters::default()
        };
        let expected = "
Number of files: 6 (reg: 2, dir: 2, link: 1, special: 1)
Number of created files: 5 (reg: 2, dir: 1, link: 1, special: 1)
Number of deleted files: 0
Number of regular files transferred: 2
Total file size: 3,000,006 bytes
Total transferred file size: 3,000,005 bytes
Literal data: 3,000,005 bytes
Matched data: 0 bytes
File list size: 0
File list generation time: 0.001 seconds
File list transfer time: 0.000 seconds
Total bytes sent: 3,000,974
Total bytes received: 68

sent 3,000,974 bytes  received 68 bytes  6,002,084.00 bytes/sec
total size is 3,000,006  speedup is 1.00
";
        assert_eq!(
            String::from_utf8(render(&counters, &options, Protocol::NEWEST, Duration::ZERO))
                .unwrap(),
            expected
        );
    }
}
