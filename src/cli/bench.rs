//! `keywright bench`: loads a running plugin as API servers would, and says what it bears.

mod drive;
mod show;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, ValueEnum};

use super::failure::{Exit, Failure};
use super::{output, place};
use crate::bench::client::Operation;
use crate::bench::load::Amount;

/// Calls per second that a plugin bears beside its API servers: at that pace one takes some 60 microseconds, so one percent of a core.
const SAFE_RATE: f64 = 200.0;

/// Load a running plugin as API servers would, and measure it
#[derive(Args)]
#[command(after_help = "Each operation is measured with each number of calls in flight, one after the other. Every answer
is checked: a Decrypt must give back what Encrypt was given. Nothing is changed, and what `rotate`
knows of the API servers stays as it is; the plugin logs a line for each call.

A plugin that does not serve a development keyring gets 200 calls a second at most, unless --yes
says that its API servers may wait.

Ends with 0 if every call was answered rightly, 4 if one was not, 5 if there is no plugin or it went
away, 6 if the speed is refused, 7 if a signal stopped it.

Examples:
  keywright bench --dev                               at full speed: 1, 8 and 64 calls in flight
  keywright bench --config /etc/keywright/config.toml beside API servers at work: 200 calls a second
  keywright bench --socket /run/kms.sock --yes --op decrypt --distinct 10000 --count 100000
  keywright bench --dev --op encrypt --concurrency 1,256 --connections 8 --svg latencies.svg")]
pub(super) struct Arguments {
    #[command(flatten)]
    plugin: place::PluginArguments,
    /// What to ask
    #[arg(long = "op", value_name = "OPERATION", value_enum, value_delimiter = ',', default_value = "status,encrypt,decrypt")]
    operations: Vec<Asked>,
    /// Calls in flight at once, over all connections, each from 1 to 256
    #[arg(long, value_name = "NUMBER", value_delimiter = ',', default_value = "1,8,64", value_parser = clap::value_parser!(u16).range(1..=256))]
    concurrency: Vec<u16>,
    /// Connections that the calls are spread over
    #[arg(long, value_name = "NUMBER", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=64))]
    connections: u16,
    /// Different ciphertexts to decrypt, made before; 1 is the same one again and again
    #[arg(long, value_name = "NUMBER", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    distinct: u32,
    /// How long each measurement takes
    #[arg(long, value_name = "DURATION", default_value = "5s", value_parser = humantime::parse_duration, conflicts_with = "count")]
    duration: Duration,
    /// How many calls each measurement takes, in place of a duration
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Most calls per second, or `none` [default: none for a development keyring or with --yes, else 200]
    #[arg(long, value_name = "NUMBER|none", value_parser = rate)]
    rate: Option<Rate>,
    /// Load it at any speed, although it serves more than a development keyring
    #[arg(long)]
    yes: bool,
    /// How long each call may take
    #[arg(long, value_name = "DURATION", default_value = "3s", value_parser = humantime::parse_duration)]
    timeout: Duration,
    /// Write the latencies as a picture as well
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    #[command(flatten)]
    output: output::Arguments,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Asked {
    Status,
    Encrypt,
    Decrypt,
}

impl From<Asked> for Operation {
    fn from(asked: Asked) -> Self {
        match asked {
            Asked::Status => Self::Status,
            Asked::Encrypt => Self::Encrypt,
            Asked::Decrypt => Self::Decrypt,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Rate {
    PerSecond(f64),
    Unlimited,
}

fn rate(text: &str) -> Result<Rate, String> {
    if text == "none" {
        return Ok(Rate::Unlimited);
    }
    let number: Option<f64> = text.parse().ok();
    let number = number.filter(|number| (0.1..=1e6).contains(number));
    number.map(Rate::PerSecond).ok_or_else(|| "must be from 0.1 to 1000000, or `none`".into())
}

impl Arguments {
    fn amount(&self) -> Amount {
        self.count.map_or(Amount::For(self.duration), Amount::Count)
    }

    /// What is asked in turn: an operation, and the calls in flight.
    fn loads(&self) -> Vec<(Operation, usize)> {
        let with = |operation: Operation| self.concurrency.iter().map(move |in_flight| (operation, usize::from(*in_flight)));
        self.operations.iter().map(|asked| Operation::from(*asked)).flat_map(with).collect()
    }

    /// Most calls per second; none for full speed. `development`: whether the plugin says that it serves a development keyring.
    fn pace(&self, socket: &Path, development: bool) -> Result<Option<f64>, Failure> {
        let free = development || self.yes;
        let speed = match self.rate {
            None if free => return Ok(None),
            None => return Ok(Some(SAFE_RATE)),
            Some(Rate::PerSecond(rate)) if free || rate <= SAFE_RATE => return Ok(Some(rate)),
            Some(Rate::Unlimited) if free => return Ok(None),
            Some(Rate::PerSecond(rate)) => format!("with {rate} calls a second"),
            Some(Rate::Unlimited) => "at full speed".to_owned(),
        };
        Err(Failure::new(
            Exit::Refused,
            format!("load the plugin at {} {speed}", socket.display()),
            "it does not say that it serves a development keyring, so API servers may be waiting for it",
            format!("Leave --rate out, for {SAFE_RATE} calls a second, or say --yes if its API servers may wait meanwhile."),
        ))
    }
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let socket = arguments.plugin.socket()?;
    // Made first: a name that cannot be written must not cost the measurement.
    let picture = arguments.svg.as_deref().map(|path| File::create(path).map_err(|e| not_written(path, &e))).transpose()?;
    let measured = super::block_on(drive::drive(&arguments, &socket));
    if let (Some(mut file), Some(path), Ok(report)) = (picture, &arguments.svg, &measured) {
        file.write_all(report.svg().as_bytes()).map_err(|e| not_written(path, &e))?;
    }
    let objection = measured.as_ref().ok().and_then(show::Report::objection);
    arguments.output.show(measured.map(|report| report.answer()))?;
    objection.map_or(Ok(()), Err)
}

fn not_written(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Exit::Usage, format!("write {}", path.display()), error, "Name a file that can be written with --svg.")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        bench: Arguments,
    }

    fn parsed(line: &[&str]) -> Arguments {
        Line::try_parse_from([&["bench"], line].concat()).unwrap_or_else(|e| panic!("{e}")).bench
    }

    fn pace(line: &[&str], development: bool) -> Option<Option<f64>> {
        parsed(line).pace(Path::new("/s"), development).ok()
    }

    #[test]
    fn only_a_development_keyring_or_yes_opens_the_way_to_full_speed() {
        assert_eq!(pace(&[], false), Some(Some(SAFE_RATE)));
        assert_eq!(pace(&[], true), Some(None));
        assert_eq!(pace(&["--yes"], false), Some(None));
        for fast in ["none", "200.5", "1000000"] {
            assert_eq!(pace(&["--rate", fast], false), None, "{fast}");
            assert!(pace(&["--rate", fast, "--yes"], false).is_some() && pace(&["--rate", fast], true).is_some(), "{fast}");
        }
        for development in [false, true] {
            assert_eq!(pace(&["--rate", "200"], development), Some(Some(200.0)));
            assert_eq!(pace(&["--rate", "0.5", "--yes"], development), Some(Some(0.5)));
        }
    }

    #[test]
    fn what_is_asked_is_every_operation_with_every_concurrency_in_the_order_given() {
        let loads = parsed(&["--op", "decrypt,status", "--concurrency", "256,1"]).loads();
        let expected = [(Operation::Decrypt, 256), (Operation::Decrypt, 1), (Operation::Status, 256), (Operation::Status, 1)];
        assert_eq!(loads, expected);
        assert_eq!(parsed(&[]).loads().len(), 9);
    }

    #[test]
    fn numbers_out_of_their_range_are_refused() {
        for bad in [
            ["--concurrency", "0"],
            ["--concurrency", "1,257"],
            ["--connections", "0"],
            ["--distinct", "0"],
            ["--count", "0"],
            ["--rate", "0"],
            ["--rate", "-1"],
            ["--rate", "nan"],
            ["--rate", "inf"],
            ["--op", "rotate"],
        ] {
            assert!(Line::try_parse_from([&["bench"], &bad[..]].concat()).is_err(), "{bad:?}");
        }
        assert!(Line::try_parse_from(["bench", "--count", "5", "--duration", "1s"]).is_err());
    }
}
