//! `%VAR%` in values: replaced by an environment variable, once, never again in the result.
//!
//! Called by `config` (numbers and booleans, while reading) and `module` (strings, when a
//! connection needs them). A name begins with an upper-case letter; one that is not set, or a
//! percent sign without its partner, stays as it is written. The variables of a connection
//! (`RSYNC_MODULE_NAME`, ...) come from the same look-up.

/// Bytes by which expansion may lengthen one value; names of a connection are short, so more is
/// the work of whoever chose them.
const EXPANSION_GROWTH_MAX: usize = 2048;

/// Looks a variable up.
pub type Environment<'a> = &'a dyn Fn(&[u8]) -> Option<Vec<u8>>;

/// The value with its variables replaced; `None` if that would lengthen it by more than 2 KiB.
pub fn expand(value: &[u8], environment: Environment<'_>) -> Option<Vec<u8>> {
    let mut result = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.iter().position(|b| *b == b'%') {
        let (before, from_sign) = rest.split_at(at);
        result.extend_from_slice(before);
        match variable(from_sign).and_then(|(name, after)| Some((environment(name)?, after))) {
            Some((text, after)) => {
                result.extend_from_slice(&text);
                rest = after;
            }
            None => {
                result.push(b'%');
                rest = from_sign.get(1..).unwrap_or_default();
            }
        }
        if result.len() > value.len() + EXPANSION_GROWTH_MAX {
            return None;
        }
    }
    result.extend_from_slice(rest);
    Some(result)
}

/// The name between two percent signs and what follows the second.
fn variable(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"%")?;
    let (name, rest) = inner.split_at(inner.iter().position(|b| *b == b'%')?);
    let plain = name.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'_');
    (plain && name.first()?.is_ascii_uppercase()).then_some((name, rest.get(1..)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(value: &str, expected: &str) {
        let environment = |name: &[u8]| match name {
            b"HOME" => Some(b"/root".to_vec()),
            b"LOOP" => Some(b"%LOOP%".to_vec()),
            _ => None,
        };
        let found = expand(value.as_bytes(), &environment).unwrap();
        assert_eq!(String::from_utf8(found).unwrap(), expected, "{value}");
    }

    #[test]
    fn replaces_only_set_well_formed_names() {
        check("foo %HOME% %nope% %NOPE% %%", "foo /root %nope% %NOPE% %%");
        check("%%HOME%% %HOME", "%/root% %HOME");
        check("%LOOP%", "%LOOP%");
        check("%o %h [%a] %m (%u) %f %l", "%o %h [%a] %m (%u) %f %l");
    }

    #[test]
    fn growth_is_bounded() {
        let long = |_: &[u8]| Some(vec![b'x'; 1500]);
        assert!(expand(b"%A%", &long).is_some());
        assert!(expand(b"%A%%A%", &long).is_none());
    }
}
