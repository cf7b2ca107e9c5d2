//! `carillon`: the service, and what an administrator needs beside it.

use std::path::PathBuf;
use std::process::ExitCode;

use carillon::config::{Config, EXAMPLE};
use carillon::{check, import, serve};
use carillon_core::names::SmtpAddress;
use clap::{Parser, Subcommand};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Pushes new mail from Exchange to phones.
#[derive(Parser)]
#[command(name = "carillon", version)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Serve until SIGTERM or Ctrl-C. SIGHUP: read the configuration and its files again.
    Serve {
        #[command(flatten)]
        config: ConfigFile,
    },
    /// Try everything that has to work: files, Exchange, push services. Says of each what is wrong and what to do.
    Check {
        #[command(flatten)]
        config: ConfigFile,
        /// Address of a mailbox to try impersonation with.
        #[arg(short, long, value_name = "ADDRESS", value_parser = address)]
        user: Option<SmtpAddress>,
    },
    /// Work with the devices of the running service.
    #[command(subcommand)]
    Devices(DevicesVerb),
    /// Work with the configuration.
    #[command(subcommand)]
    Config(ConfigVerb),
}

#[derive(Subcommand)]
enum DevicesVerb {
    /// Register many devices: one JSON object a line, as for a single registration, with "user" and "device".
    Import {
        /// The registrations.
        #[arg(value_name = "FILE")]
        devices: PathBuf,
        #[command(flatten)]
        config: ConfigFile,
    },
}

#[derive(Subcommand)]
enum ConfigVerb {
    /// Print a commented configuration with every key.
    Example,
}

#[derive(clap::Args)]
struct ConfigFile {
    /// The configuration.
    #[arg(
        short = 'c',
        long = "config",
        value_name = "FILE",
        env = "CARILLON_CONFIG",
        default_value = "carillon.toml"
    )]
    file: PathBuf,
}

fn main() -> ExitCode {
    match Arguments::parse().verb {
        Verb::Serve { config } => with_config(&config, |config| {
            let log = serve::start_log(&config);
            match serve::run(config, log) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => fail(&error, EXIT_FAILED),
            }
        }),
        Verb::Check { config, user } => with_config(&config, |config| {
            if check::run(&config, user.as_ref(), &mut std::io::stdout()) {
                ExitCode::SUCCESS
            } else {
                ExitCode::from(EXIT_FAILED)
            }
        }),
        Verb::Devices(DevicesVerb::Import { devices, config }) => {
            with_config(&config, |config| match import::run(&config, &devices, &mut std::io::stderr()) {
                Ok(answer) => {
                    println!("{}", import::summary(&answer));
                    if answer.refused == 0 { ExitCode::SUCCESS } else { ExitCode::from(EXIT_FAILED) }
                }
                Err(error) => fail(&error, EXIT_FAILED),
            })
        }
        Verb::Config(ConfigVerb::Example) => {
            print!("{EXAMPLE}");
            ExitCode::SUCCESS
        }
    }
}

fn with_config(file: &ConfigFile, run: impl FnOnce(Config) -> ExitCode) -> ExitCode {
    match Config::load(&file.file) {
        Ok(config) => run(config),
        Err(error) => fail(&error, EXIT_CONFIG),
    }
}

fn address(text: &str) -> Result<SmtpAddress, String> {
    SmtpAddress::parse(text).map_err(|error| error.to_string())
}

fn fail(error: &dyn std::fmt::Display, code: u8) -> ExitCode {
    eprintln!("carillon: {error}");
    ExitCode::from(code)
}

/// Something in the surroundings is wrong: a port, a file, the database, a server, a line of an import.
const EXIT_FAILED: u8 = 1;

/// The configuration is wrong, or the command line (by clap).
const EXIT_CONFIG: u8 = 2;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
        for line in [
            "carillon devices import devices.ndjson --config c.toml",
            "carillon check --config c.toml --user jane@example.com",
            "carillon check",
        ] {
            assert!(Arguments::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        assert!(Arguments::try_parse_from(["carillon", "check", "--user", "jane"]).is_err());
    }
}
