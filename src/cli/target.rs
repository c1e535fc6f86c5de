//! What every command takes that opens a keyring: which one, by what, and how to print the answer.

use clap::Args;

use super::failure::Failure;
use super::output::{self, Answer};
use super::place::{self, Named, Place};
use crate::keyring::seal::Opener;

/// Names a keyring, says how it is opened and how the answer is printed.
#[derive(Args)]
#[group(id = "target")]
pub(super) struct Arguments {
    #[command(flatten)]
    pub(super) place: place::Arguments,
    #[command(flatten)]
    pub(super) output: output::Arguments,
    /// Open the keyring by a passphrase from the terminal
    #[arg(long)]
    pub(super) ask_passphrase: bool,
}

impl Arguments {
    /// The keyring that was named.
    pub(super) fn named(&self) -> Result<Named, Failure> {
        self.place.resolve().and_then(Place::named)
    }

    /// What opens it: what the configuration says, or a passphrase from the terminal.
    pub(super) fn opener(&self, named: &Named) -> Result<Opener, Failure> {
        named.opener(self.ask_passphrase)
    }

    /// Prints what was done, or why it was not.
    pub(super) fn show(&self, outcome: Result<Answer, Failure>) -> Result<(), Failure> {
        self.output.show(outcome)
    }
}
