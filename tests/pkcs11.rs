//! Keys in real tokens. Each test that loads a module is alone in a process: a module is configured by a variable that it reads when it is loaded.
//! Those that run the built binary give it the variable.

#[path = "pkcs11/badinput.rs"]
mod badinput;
#[path = "pkcs11/behind.rs"]
mod behind;
#[path = "pkcs11/commands.rs"]
mod commands;
#[path = "pkcs11/fake.rs"]
mod fake;
#[path = "pkcs11/frozen.rs"]
mod frozen;
#[path = "pkcs11/keys.rs"]
mod keys;
#[path = "pkcs11/kill.rs"]
mod kill;
#[path = "pkcs11/loss.rs"]
mod loss;
#[path = "pkcs11/manage.rs"]
mod manage;
#[path = "pkcs11/many.rs"]
mod many;
#[path = "pkcs11/pin.rs"]
mod pin;
#[path = "pkcs11/place.rs"]
mod place;
#[path = "pkcs11/recover.rs"]
mod recover;
#[path = "format/script.rs"]
mod script;
#[path = "pkcs11/seal.rs"]
mod seal;
#[path = "pkcs11/support.rs"]
mod support;
#[path = "format/vectors.rs"]
#[allow(dead_code, reason = "shared by two test binaries, of which this one reads the vectors of tokens alone")]
mod vectors;
