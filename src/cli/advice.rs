//! What to do next, for each thing that can stand in the way. Written for three o'clock in the morning.

use std::io;

use crate::durable::CreateError;
use crate::keyring::document::DocumentError;
use crate::keyring::seal::SealError;
use crate::keyring::store::{InitError, LoadError};
use crate::ownership::OwnershipError;
use crate::server::SocketError;

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
    match error {
        LoadError::Ownership(error) => match error {
            OwnershipError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                "If there never was a keyring, make one with `keywright init --config FILE`; else restore it. It is never made anew by itself.".into()
            }
            other => ownership(other),
        },
        LoadError::Seal(SealError::NoSlot { .. }) => {
            "A development keyring is only opened with --dev, and --dev opens nothing else; check `keyring` and `seal` in the configuration.".into()
        }
        LoadError::Seal(SealError::WrongSecret { .. }) => "Restore the credential or key file that belongs to this keyring; nothing was changed.".into(),
        LoadError::Seal(SealError::NotAlone) => {
            "Treat every key in it as public: make another keyring and move to it. Nothing was changed.".into()
        }
        LoadError::Seal(SealError::TooShort(_)) => "Make one with: head -c 32 /dev/urandom > FILE (for a new keyring only).".into(),
        LoadError::Document(DocumentError::Format(_)) => "Install the release that wrote it, or a newer one; nothing was changed.".into(),
        LoadError::NotText | LoadError::Document(_) | LoadError::Canary { .. } | LoadError::Check { .. } | LoadError::Primary => {
            "Restore the keyring file from its backup. It was left as it is, and no new keyring was made.".into()
        }
        LoadError::Seal(SealError::Kek(_)) | LoadError::Probe(_) => "Start again; if it stays, the machine's random generator or memory is failing.".into(),
    }
}

pub(super) fn init(error: &InitError) -> String {
    match error {
        InitError::Create(CreateError::Exists(_)) => {
            "Serve it with `keywright serve`. To begin anew, move the file away yourself: without it nothing that it encrypted can be read."
                .into()
        }
        InitError::Create(CreateError::Busy(_)) => "Wait for the other command to end.".into(),
        InitError::Create(CreateError::NoName(_)) => "Name a file in `keyring`.".into(),
        InitError::Create(CreateError::Step { .. }) => {
            "Make the folder of the keyring, owned by the plugin's user, mode 0700, with room on its disk.".into()
        }
        InitError::Load(error) => load(error),
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
