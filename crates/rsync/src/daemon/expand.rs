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

/// Bytes that mean something to a shell.
const SHELL_BYTES: &[u8] = b"'\"`$\\;&|<>()*?[]# !~{}";

/// The quoting that a place in a shell's line stands in.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Quoting {
    None,
    Single,
    Double,
}

/// A shell's line with its variables replaced, each value quoted for the place it stands in.
///
/// # Errors
/// The name of a variable of the connection whose value means something to a shell: what a client
/// chose is not left to quoting alone. A line that grows too long is refused the same way.
pub fn expand_shell(line: &[u8], environment: Environment<'_>) -> Result<Vec<u8>, Vec<u8>> {
    let mut result = Vec::with_capacity(line.len());
    let mut rest = line;
    let mut quoting = Quoting::None;
    while let Some((&byte, after)) = rest.split_first() {
        if let Some((name, behind)) = variable(rest)
            && let Some(value) = environment(name)
        {
            let special = |b: &u8| b.is_ascii_control() || SHELL_BYTES.contains(b);
            let grown = result.len() + value.len() > line.len() + EXPANSION_GROWTH_MAX;
            if grown || name.starts_with(b"RSYNC_") && value.iter().any(special) {
                return Err(name.to_vec());
            }
            put_quoted(&mut result, &value, quoting);
            rest = behind;
            continue;
        }
        result.push(byte);
        rest = after;
        match (quoting, byte) {
            (Quoting::None | Quoting::Double, b'\\') => {
                if let Some((&escaped, after)) = rest.split_first() {
                    result.push(escaped);
                    rest = after;
                }
            }
            (Quoting::None, b'\'') => quoting = Quoting::Single,
            (Quoting::None, b'"') => quoting = Quoting::Double,
            (Quoting::Single, b'\'') | (Quoting::Double, b'"') => quoting = Quoting::None,
            _ => {}
        }
    }
    Ok(result)
}

fn put_quoted(line: &mut Vec<u8>, value: &[u8], quoting: Quoting) {
    // Inside double quotes the reference adds single quotes all the same, which scripts see.
    let wrap = quoting != Quoting::Single;
    if wrap {
        line.push(b'\'');
    }
    for &byte in value {
        match byte {
            b'\'' if quoting != Quoting::Double => line.extend_from_slice(b"'\\''"),
            b'\\' | b'"' | b'`' | b'$' if quoting == Quoting::Double => {
                line.extend_from_slice(&[b'\\', byte]);
            }
            _ => line.push(byte),
        }
    }
    if wrap {
        line.push(b'\'');
    }
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
    fn values_are_quoted_for_the_place_in_a_shells_line() {
        let environment = |name: &[u8]| match name {
            b"RSYNC_MODULE_NAME" => Some(b"m".to_vec()),
            b"RSYNC_USER_NAME" => Some(b"$(reboot)".to_vec()),
            b"HOME" => Some(b"/ro'o \"t".to_vec()),
            _ => None,
        };
        let check = |line: &str, expected: &str| {
            let found = expand_shell(line.as_bytes(), &environment).unwrap();
            assert_eq!(String::from_utf8(found).unwrap(), expected, "{line}");
        };
        check("x a%RSYNC_MODULE_NAME%b", "x a'm'b");
        check("x \"c %RSYNC_MODULE_NAME% d\" %HOME%", "x \"c 'm' d\" '/ro'\\''o \"t'");
        check("x 'e %RSYNC_MODULE_NAME% %HOME%'", "x 'e m /ro'\\''o \"t'");
        check("x \"%HOME%\" \\\"%NOPE%", "x \"'/ro'o \\\"t'\" \\\"%NOPE%");
        let refused = expand_shell(b"x '%RSYNC_USER_NAME%'", &environment);
        assert_eq!(refused, Err(b"RSYNC_USER_NAME".to_vec()));
    }

    #[test]
    fn growth_is_bounded() {
        let long = |_: &[u8]| Some(vec![b'x'; 1500]);
        assert!(expand(b"%A%", &long).is_some());
        assert!(expand(b"%A%%A%", &long).is_none());
    }
}
