//! What to do next, for each thing that can stand in the way. Written for three o'clock in the morning.

use std::io;

use super::failure::{Exit, Failure};
use crate::durable::WriteError;
#[cfg(feature = "operator")]
use crate::etcd::live::{EtcdError, Refusal};
use crate::keyring::document::DocumentError;
use crate::keyring::rotation::StepError;
use crate::keyring::seal::{SealError, SlotKind};
use crate::keyring::seen::SeenError;
use crate::keyring::store::{ChangeError, LoadError};
use crate::ownership::OwnershipError;
use crate::provider::KekError;
use crate::provider::pkcs11::{Problem, TokenError, Turn};
use crate::server::SocketError;
use crate::source::SourceError;
use crate::unseal::UnsealError;

pub(super) fn ownership(error: &OwnershipError) -> String {
    match error {
        OwnershipError::Read { path, source } if source.kind() == io::ErrorKind::NotFound => {
            format!("Check the path; if {} should exist, restore it from its backup.", path.display())
        }
        OwnershipError::Read { .. } => "Run the command as the user that owns the file.".into(),
        OwnershipError::Symlink(path) => format!("Put the file itself at {}, not a link to it.", path.display()),
        OwnershipError::NotRegular(path) => format!("Put a file at {}.", path.display()),
        OwnershipError::Owner { path, .. } => {
            format!("See who wrote {0} and why; if it is sound: chown root {0}", path.display())
        }
        OwnershipError::Mode { path, .. } => {
            format!("See whether somebody used that; if all is sound: chmod go-rwx {}", path.display())
        }
        OwnershipError::TooLarge { path, .. } => {
            format!("See what {} is; it does not look like the file that belongs there.", path.display())
        }
    }
}

pub(super) fn load(error: &LoadError) -> String {
    if let Some(error) = error.token() {
        return token(error);
    }
    match error {
        LoadError::Ownership(error) => match error {
            OwnershipError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "If there never was a keyring, make one with `keywright init --config FILE`; else restore it. It is never made anew by itself.".into()
            }
            other => ownership(other),
        },
        LoadError::Seal(SealError::NoSlot { .. }) => {
            "Check `keyring` and `seal` in the configuration; a development keyring is only opened with --dev, and --dev opens nothing else.".into()
        }
        LoadError::Seal(SealError::WrongSecret { kind }) if *kind == SlotKind::Passphrase.to_string() => {
            "Check what was typed, or the credential that holds it, or open the keyring by another of its slots; nothing was changed.".into()
        }
        LoadError::Seal(SealError::WrongSecret { .. }) => "Restore the credential or key file that belongs to this keyring; nothing was changed.".into(),
        LoadError::Seal(SealError::NotAlone) => {
            "Treat every key in it as public: make another keyring and move to it. Nothing was changed.".into()
        }
        LoadError::Seal(SealError::ShortPassphrase(_)) => "Choose a longer one; six random words are a good one.".into(),
        LoadError::Seal(SealError::Derivation(_)) => "Deriving it takes 64 MiB of memory or more: make room, or raise MemoryMax= of the unit.".into(),
        LoadError::Seal(SealError::TooShort(_)) => "Make one with: head -c 32 /dev/urandom > FILE (for a new keyring only).".into(),
        LoadError::Document(DocumentError::Format(_)) => "Install the release that wrote it, or a newer one; nothing was changed.".into(),
        LoadError::NotText | LoadError::Document(_) | LoadError::Canary { .. } | LoadError::Check { .. } | LoadError::Primary | LoadError::History | LoadError::Coordination => {
            "Restore the keyring file from its backup. It was left as it is, and no new keyring was made.".into()
        }
        LoadError::Seal(SealError::Kek(_)) | LoadError::Probe(_) => "Start again; if it stays, the machine's random generator or memory is failing.".into(),
    }
}

fn write(error: &WriteError) -> String {
    match error {
        WriteError::Exists(_) => {
            "Serve it with `keywright serve`. To begin anew, move the file away yourself: without it nothing that it encrypted can be read.".into()
        }
        WriteError::Busy(_) => "Wait for the other command to end, and run this one again.".into(),
        WriteError::NotDurable { .. } => "See what ails the disk, then run the command again: it changes nothing more, and syncs first.".into(),
        WriteError::NoName(_) => "Name a file in `keyring`.".into(),
        WriteError::Step { source, .. } if source.kind() == io::ErrorKind::StorageFull => "Make room on the disk. The keyring is as it was.".into(),
        WriteError::Step { source, .. } if source.kind() == io::ErrorKind::ReadOnlyFilesystem => {
            "Run the command where the folder of the keyring can be written. The keyring is as it was.".into()
        }
        WriteError::Step { .. } => {
            "Make the folder of the keyring, owned by the plugin's user, mode 0700, with room on its disk, and run the command as that user.".into()
        }
    }
}

/// Why the keyring was not changed, as every command says it.
pub(super) fn changed(attempted: impl Into<String>, error: &ChangeError) -> Failure {
    let (exit, next) = match error {
        ChangeError::Write(e) => (write_exit(e), write(e)),
        ChangeError::Load(e) => (load_exit(e), load(e)),
        ChangeError::Step(e) => (step_exit(e), step(e)),
        ChangeError::TooLarge => {
            (Exit::Configuration, "Begin another keyring and move to it; this one has some 10,000 versions.".to_owned())
        }
    };
    Failure::new(exit, attempted, error, next)
}

/// How a command ends that could not open a keyring.
pub(super) fn load_exit(error: &LoadError) -> Exit {
    error.token().map_or(Exit::Configuration, token_exit)
}

/// A token that is away is the moment's trouble; one that is not as the configuration says is the configuration's.
pub(super) fn token_exit(error: &TokenError) -> Exit {
    match (&error.problem, error.problem.turn()) {
        // Whoever names a token or key that is not there has most likely named it wrongly.
        (Problem::NoToken { .. } | Problem::NoKey { .. }, _) | (_, Turn::Operator | Turn::Pin) => Exit::Configuration,
        (_, Turn::Wait) => Exit::Runtime,
    }
}

/// The next step when a token did not do what it was asked for.
pub(super) fn token(error: &TokenError) -> String {
    match &error.problem {
        Problem::NotConfigured => "Add a [[token]] table with its label and serial number; `docs/config.toml` shows one.",
        Problem::File(_) => "Name the vendor's library with its absolute path in `token.module`; it and every folder above it must be root's, and writable by nobody else.",
        Problem::Module { .. } | Problem::Missing(_) => "See that `token.module` names the vendor's PKCS#11 library for this system, and that what it needs (its own configuration, a daemon) is there.",
        Problem::NoToken { .. } => "Put the token in, or correct label and serial number in `token.uri`; `pkcs11-tool --module FILE -L` lists what the module sees.",
        Problem::Tokens(_) => "Give the tokens different labels; which of two alike is meant cannot be known.",
        Problem::NoKey { .. } => "See that this is the token that the keyring was made with; `keywright keyring show` lists what it has. Restore the key from the HSM's own backup if it was deleted.",
        Problem::Duplicate { .. } => "See where the second key came from. Remove or relabel it with the vendor's tool once it is known which one is ours; nothing here deletes either.",
        Problem::Extractable(_) | Problem::Unfit(_) => "Make another key with `keywright rotate begin`, which makes it as it must be; this one was not taken.",
        Problem::WrongKey => "Somebody put another key in the place of ours: restore the right one from the HSM's own backup. Nothing was encrypted with this one.",
        Problem::Mechanism(_) => "Use a token that has AES-GCM, or say `--algorithm aes-256-cbc-hmac-sha-256` if it has AES-CBC and SHA-256 HMAC.",
        Problem::Exists(_) => "Run the command again: it draws another id.",
        Problem::Iv(_) => "Do not use `--iv token` with this token: it chooses IVs that break AES-GCM.",
        Problem::PinRejected => "Correct the PIN in its credential or file. This one is not tried again until that changes.",
        Problem::PinLatched { .. } => "Correct the PIN in its credential or file: another one is given at once. If this one is right after all (a plugin was ended in the middle of a login, or the PIN was changed back), remove that record.",
        Problem::PinLatch(_) => "Give the command and the plugin a state directory that they can write (`state_dir`, StateDirectory= of the unit); a damaged `pin-latch-` file may be removed once it is known what became of it.",
        Problem::PinBusy => "Try again when the other command has ended.",
        Problem::PinSource(_) => "Set `pin_credential` (outside the unit: `systemd-run -p LoadCredential=`) or `pin_file`; with neither of the two a command asks at a terminal.",
        Problem::PinForm { .. } => "Write the PIN alone into it; at most one line feed may follow.",
        Problem::PinLocked => "Have the PIN unlocked by the token's security officer.",
        Problem::PinTriesLow => "See who gave wrong PINs, then reset the counter by a login with the vendor's tool; Keywright gives no PIN before that.",
        Problem::PinExpired => "Set the user PIN with the vendor's tool.",
        Problem::Hung => "Look at the token and what lies between; end and start the command or the plugin once it answers.",
        Problem::Busy => "Try again; if it stays, raise `token.sessions` or see who else uses the token.",
        Problem::Returned { .. } | Problem::Odd { .. } => "Look at the token and into the log of its module; the plugin tries again by itself.",
    }
    .to_owned()
}

fn write_exit(error: &WriteError) -> Exit {
    match error {
        WriteError::Exists(_) | WriteError::Busy(_) => Exit::Refused,
        WriteError::NoName(_) => Exit::Configuration,
        WriteError::NotDurable { .. } | WriteError::Step { .. } => Exit::Runtime,
    }
}

/// Why a step was not taken.
#[cfg(feature = "operator")]
pub(super) fn refused(attempted: impl Into<String>, error: &StepError) -> Failure {
    Failure::new(step_exit(error), attempted, error, step(error))
}

fn step_exit(error: &StepError) -> Exit {
    match error {
        StepError::Unknown(_) => Exit::Usage,
        StepError::NotVerified(_) => Exit::Incomplete,
        StepError::Kek(KekError::Token(error)) => token_exit(error),
        StepError::Full | StepError::Kek(_) => Exit::Unexpected,
        StepError::NothingStaged | StepError::State { .. } | StepError::Hold { .. } => Exit::Refused,
    }
}

fn step(error: &StepError) -> String {
    match error {
        StepError::Unknown(_) => "`keywright keyring list` shows the versions of this keyring.".into(),
        StepError::NothingStaged => "Make a version first: keywright rotate begin".into(),
        StepError::State { .. } => "`keywright rotate status` shows where the rotation stands and what comes next.".into(),
        StepError::NotVerified(key_id) => format!("Record it first: keywright rotate verify {key_id}"),
        StepError::Hold { .. } => "Wait for it to end; until then `keywright rotate enable` undoes the disable.".into(),
        StepError::Kek(KekError::Token(error)) => token(error),
        StepError::Full | StepError::Kek(_) => "This is not foreseen; please report it.".into(),
    }
}

pub(super) fn seen(error: &SeenError) -> String {
    match error {
        SeenError::OtherKeyring { .. } => {
            "Put the file of the keyring that was seen back: nothing that it wrapped can be read without it. If the other one is to take its place for good: keywright keyring accept-restore.".into()
        }
        SeenError::RolledBack { .. } | SeenError::Diverged { .. } => {
            "If it was put there on purpose (a restored backup): keywright keyring accept-restore. Keys that were made since then are not in it.".into()
        }
        SeenError::Read(error) => ownership(error),
        SeenError::Form(path) => format!("See who wrote {}; `keywright keyring accept-restore` writes it anew.", path.display()),
        SeenError::Write(_) => "Give the plugin's user a state directory that it can write (`state_dir`, StateDirectory= of the unit).".into(),
    }
}

pub(super) fn unseal(error: &UnsealError) -> String {
    match error {
        UnsealError::NoCredentials(name) => format!(
            "Run the command in a unit that has it, for example: systemd-run --pipe --wait -p LoadCredential={name}:PATH keywright ... (LoadCredentialEncrypted= for one made by systemd-creds), or open the keyring by its passphrase with --ask-passphrase."
        ),
        UnsealError::Credential(OwnershipError::Read { path, source }) if source.kind() == io::ErrorKind::NotFound => {
            let name = path.file_name().unwrap_or_default().display();
            format!(
                "Give the unit a credential of that name: LoadCredential={name}:PATH (or LoadCredentialEncrypted=), or correct [seal] in the configuration."
            )
        }
        UnsealError::Credential(error) | UnsealError::KeyFile(error) => ownership(error),
    }
}

pub(super) fn source(error: &SourceError) -> String {
    match error {
        SourceError::Unseal(error) => unseal(error),
        SourceError::Load(error) => load(error),
        SourceError::Seen(error) => seen(error),
        SourceError::NotDurable(_) => {
            "See what ails the disk, and whether the plugin's user may read the folder of the keyring; then start again.".into()
        }
        SourceError::Other { .. } => "Put the file of this keyring back; to serve another one, start the plugin anew.".into(),
    }
}

pub(super) fn socket(error: &SocketError) -> String {
    match error {
        SocketError::TooLong { .. } => "Choose a shorter path.".into(),
        SocketError::NoName(_) => "Name the socket by an absolute path.".into(),
        SocketError::Folder(OwnershipError::Read { path, source }) if source.kind() == io::ErrorKind::NotFound => {
            format!("Make the folder: install -d -m 0755 {}", path.display())
        }
        SocketError::Folder(OwnershipError::Mode { path, .. }) => {
            format!("Whoever can write there can put another socket in our place. chmod go-w {}, or choose another folder.", path.display())
        }
        SocketError::Folder(error) => ownership(error),
        SocketError::Held { path, .. } => format!("Stop it first, or ask it: keywright status --socket {}", path.display()),
        SocketError::Live(path) => format!("See who it is: ss -xlp | grep {}", path.display()),
        SocketError::Symlink(path) | SocketError::Foreign { path, .. } => {
            format!("Move {} away if nobody needs it, or choose another path.", path.display())
        }
        SocketError::Step { .. } => "Run as a user that may write to the folder of the socket.".into(),
    }
}

/// Why etcd does not answer.
#[cfg(feature = "operator")]
pub(super) fn etcd(error: &EtcdError) -> String {
    match (error, error.refusal()) {
        (EtcdError::Tls(_), _) => "Name the files that etcdctl is used with: --cacert, --cert, --key.",
        (EtcdError::Broken(_), _) => "See whether a proxy stands between, and whether the endpoints are of one cluster.",
        (EtcdError::Compacted { .. }, _) => "Scan again; if it happens each time, etcd is compacted more often than it can be read.",
        (_, Some(Refusal::Tls(_))) => {
            "Name the authority that signed etcd's certificate and a client certificate that it accepts: --cacert, --cert, --key."
        }
        (_, Some(Refusal::Refused | Refusal::Unreachable(_) | Refusal::DialTimeout(_))) => {
            "See whether etcd runs there, and name its client URL with --endpoints."
        }
        (_, Some(Refusal::NoLeader)) => "See to the members of etcd: without a leader nothing can be read for sure.",
        _ => "Try the same with etcdctl, and see etcd's log.",
    }
    .into()
}
