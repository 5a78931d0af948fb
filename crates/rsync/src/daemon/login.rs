//! The login: challenge, response, and whether the password fits.
//!
//! Called by `connection` for a module that its client may reach. The client is told only that it
//! failed, after the same exchange whatever the reason, so that it cannot learn which users there
//! are. Without `auth users` everybody is let in, as nobody in particular.

use tree::owner;
use wire::auth::{self, AuthDigest};
use wire::exit::ExitCode;
use wire::greeting::Greeting;
use wire::limits;
use wire::version::Protocol;

use super::connection::{Connection, End};
use super::files;
use super::module::Module;
use super::secrets::{self, AuthRule, SecretCheck};

/// Bytes of system randomness in a challenge.
const CHALLENGE_BYTES: usize = 16;

/// Who was let in.
#[derive(Debug)]
pub(crate) struct LoggedIn {
    /// Empty without a login.
    pub(crate) user: Vec<u8>,
    /// Decides in place of `read only`.
    pub(crate) read_only: Option<bool>,
}

/// Lets the client log in if the module asks for it.
pub(crate) fn login(
    connection: &mut Connection<'_>,
    module: &Module,
    (greeting, protocol): (&Greeting, Protocol),
) -> Result<LoggedIn, End> {
    if secrets::entries(&module.auth_users).is_empty() {
        return Ok(LoggedIn { user: Vec::new(), read_only: None });
    }
    let digest = choose_digest(connection, module, (greeting, protocol))?;
    let mut random = [0u8; CHALLENGE_BYTES];
    getrandom::fill(&mut random)
        .map_err(|error| End::dropped(format!("no random numbers: {error}"), ExitCode::Ipc))?;
    let challenge = auth::challenge(&random);
    connection.stream.begin_phase();
    connection.stream.write(format!("@RSYNCD: AUTHREQD {challenge}\n").as_bytes())?;
    let line = connection.stream.line(limits::DAEMON_LINE_MAX)?;
    connection.stream.end_phase();
    let Some(blank) = line.iter().position(|b| *b == b' ') else {
        return Err(failed(connection, module, b"", "invalid challenge response"));
    };
    let (user, response) = line.split_at(blank);
    let response = response.get(1..).unwrap_or_default();
    let verify = |password: &[u8]| auth::verify(digest, password, challenge.as_bytes(), response);
    match check(connection, module, user, &verify) {
        Ok(read_only) => Ok(LoggedIn { user: user.to_vec(), read_only }),
        Err(reason) => Err(failed(connection, module, user, reason)),
    }
}

/// The digest both sides have, if it is strong enough for the module.
fn choose_digest(
    connection: &Connection<'_>,
    module: &Module,
    (greeting, protocol): (&Greeting, Protocol),
) -> Result<AuthDigest, End> {
    let Some(digest) = auth::choose_daemon(greeting.digests.as_deref(), protocol) else {
        let names = AuthDigest::PREFERENCE.map(AuthDigest::name).join(" ");
        let text = "your client does not support one of our daemon-auth checksums";
        let client = format!("{text}: {names}").into_bytes();
        return Err(End::Refused {
            log: client.clone(),
            client,
            exit: ExitCode::Unsupported.code(),
        });
    };
    let wanted = String::from_utf8_lossy(module.auth_digest.trim_ascii());
    if wanted.is_empty() {
        return Ok(digest);
    }
    let reason = match AuthDigest::parse(&wanted) {
        Some(floor) if digest >= floor => return Ok(digest),
        Some(_) => format!(
            "negotiated auth digest {} is weaker than the required 'auth digest = {wanted}'",
            digest.name()
        ),
        None => format!(
            "the configured 'auth digest = {wanted}' is not a supported digest on this build"
        ),
    };
    Err(failed(connection, module, b"", &reason))
}

/// Finds the rule and the password; what holds in place of `read only`, or why not.
fn check(
    connection: &Connection<'_>,
    module: &Module,
    user: &[u8],
    verify: &dyn Fn(&[u8]) -> bool,
) -> Result<Option<bool>, &'static str> {
    let groups = || group_names_of(user);
    let (read_only, group) = match secrets::rule_for(&module.auth_users, user, &groups) {
        AuthRule::NoMatch => return Err("no matching rule"),
        AuthRule::Denied => return Err("denied by rule"),
        AuthRule::Allowed { read_only, group } => (read_only, group),
    };
    if user.first() == Some(&b'#') {
        return Err("invalid username");
    }
    if module.secrets_file.is_empty() {
        return Err("no secrets file");
    }
    let mut secret = match files::read_secrets(&module.secrets_file) {
        Ok(secret) => secret,
        Err(_) => return Err("no secrets file"),
    };
    let strict = module
        .strict_modes
        .then(|| secrets::refuse_mode(secret.mode, secret.owner, owner::effective_uid()));
    let result = match strict.flatten() {
        Some(why) => {
            connection.log.warning(why);
            Err("ignoring secrets file")
        }
        None => match secrets::check_secret(&secret.content, user, group.as_deref(), verify) {
            SecretCheck::Match => Ok(read_only),
            SecretCheck::Mismatch => Err("password mismatch"),
            SecretCheck::NotFound => Err("secret not found"),
        },
    };
    secret.content.fill(0);
    result
}

/// The names of all groups of a system user; none if there is no such user.
fn group_names_of(user: &[u8]) -> Vec<Vec<u8>> {
    let mut owners = owner::Owners::new();
    let Some((own, others)) = owners.user_id(user).and_then(owner::user_groups) else {
        return Vec::new();
    };
    let all = std::iter::once(own).chain(others);
    all.filter_map(|gid| owners.group_name(gid)).collect()
}

fn failed(connection: &Connection<'_>, module: &Module, user: &[u8], reason: &str) -> End {
    let name = module.name.as_slice();
    let client = connection.client();
    let whom = if user.is_empty() { Vec::new() } else { [b" for ", user].concat() };
    let log = [
        b"auth failed on module ".as_slice(),
        name,
        b" from ",
        &client,
        &whom,
        b": ",
        reason.as_bytes(),
    ];
    End::refused([b"auth failed on module ", name].concat(), log.concat())
}
