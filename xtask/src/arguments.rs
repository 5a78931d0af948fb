//! The words of a task: operands, `--name value` and `--name=value`, and switches.

use std::str::FromStr;

/// What is left to be read.
pub(crate) struct Arguments(Vec<String>);

impl Arguments {
    /// All words after the task's name.
    pub(crate) fn new(words: impl Iterator<Item = String>) -> Arguments {
        Arguments(words.collect())
    }

    /// Takes the value of an option, wherever it stands.
    pub(crate) fn text(&mut self, name: &str) -> Option<String> {
        let option = format!("--{name}");
        let at = self.0.iter().position(|word| {
            word.strip_prefix(&option).is_some_and(|rest| rest.is_empty() || rest.starts_with('='))
        })?;
        let word = self.0.remove(at);
        match word.split_once('=') {
            Some((_, value)) => Some(value.to_string()),
            None if at < self.0.len() => Some(self.0.remove(at)),
            None => Some(String::new()),
        }
    }

    /// Takes the value of an option that is a number; `k`, `m` and `g` stand for powers of 1024.
    pub(crate) fn number<T: FromStr + TryFrom<u64>>(
        &mut self,
        name: &str,
        default: T,
    ) -> Result<T, String> {
        let Some(text) = self.text(name) else { return Ok(default) };
        let (digits, factor) = match text.to_ascii_lowercase().chars().last() {
            Some('k') => (&text[..text.len() - 1], 1 << 10),
            Some('m') => (&text[..text.len() - 1], 1 << 20),
            Some('g') => (&text[..text.len() - 1], 1 << 30),
            _ => (text.as_str(), 1),
        };
        let number = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(factor));
        number
            .and_then(|n| T::try_from(n).ok())
            .ok_or_else(|| format!("--{name}: {text} is no number that fits"))
    }

    /// Takes a switch.
    pub(crate) fn switch(&mut self, name: &str) -> bool {
        let option = format!("--{name}");
        let before = self.0.len();
        self.0.retain(|word| *word != option);
        self.0.len() < before
    }

    /// Takes the next word that is no option.
    pub(crate) fn operand(&mut self) -> Option<String> {
        let first = self.0.first().filter(|word| !word.starts_with("--"))?.clone();
        self.0.remove(0);
        Some(first)
    }

    /// Refuses what nobody took.
    pub(crate) fn finish(&self) -> Result<(), String> {
        match self.0.first() {
            None => Ok(()),
            Some(word) => Err(format!("unknown word {word}")),
        }
    }
}
