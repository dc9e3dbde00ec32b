//! Log lines for benches that need no broker: of the shape and size that `rooflines/topic.c` writes.

/// So many JSON logs of about 300 bytes; every second one has level debug.
#[must_use]
pub fn log_lines(count: u32) -> Vec<String> {
    let mut words = Words(88_172_645_463_325_252);
    (0..count).map(|number| line(number, &words.text(128))).collect()
}

fn line(number: u32, message: &str) -> String {
    let (minute, second, millis) = (number / 60_000 % 60, number / 1000 % 60, number % 1000);
    let level = if number % 2 == 1 { "debug" } else { "info" };
    let (shop, host, country) = (number % 7, number % 50, "de");
    let status = if number.is_multiple_of(90) { 503 } else { 200 };
    let duration = f64::from(number % 5000) / 10.0;
    format!(
        r#"{{"timestamp":"2026-01-31T12:{minute:02}:{second:02}.{millis:03}Z","level":"{level}","message":"{message}","app":"shop-{shop}","host":"web-{host:02}","seq":{number},"status":{status},"duration_ms":{duration:.1},"user":{{"id":{number},"country":"{country}"}}}}"#
    )
}

/// Words by xorshift64: the same in every run.
struct Words(u64);

impl Words {
    const LIST: [&str; 16] = [
        "request", "timeout", "worker", "checkout", "payment", "accepted", "upstream", "in", "cache", "miss",
        "retry", "session", "GET", "/api/v1", "/items", "took",
    ];

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn text(&mut self, length: usize) -> String {
        let mut text = String::with_capacity(length + 16);
        while text.len() < length {
            let random = self.next();
            if random.is_multiple_of(5) {
                text.push_str(&(random >> 40).to_string());
            } else {
                text.push_str(Self::LIST[(random >> 8) as usize % Self::LIST.len()]);
            }
            text.push(' ');
        }
        text.truncate(length);
        text
    }
}
