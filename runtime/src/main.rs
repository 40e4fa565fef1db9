//! `bazaar` runs the trading post and inspects it. `main` maps what the commands return to exit codes.

mod commands;

use std::{process::ExitCode, time::Duration};

use bazaar_runtime::{
    processes::{log, report},
    store,
    system::{limits, output, signals},
};

use commands::Failure;

// No mutant gets in here, whatever features a build unifies (DESIGN 6).
const _: () = assert!(!bazaar_protocol::MUTABLE, "the shipped `bazaar` is built from the protocol without mutants");

/// How long a finished command waits for its output to be read.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    store::install_panic_filter();
    if let Err(error) = signals::survive_file_size_limits() {
        output::complain(&format!("warning: a limit on the size of files will end this process unsaid: {error}"));
    }
    limits::raise();
    let cli = match commands::cli::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    cli.color.write_global();
    let _flushed = log::Flushed(OUTPUT_TIMEOUT);
    let result = commands::run(cli.command);
    // What was lost of the output counts, unless something worse has happened.
    let flushed = report::flush(OUTPUT_TIMEOUT).map_err(Failure::from);
    match result.and_then(|code| flushed.map(|()| code)) {
        Ok(code) => code,
        Err(failure) => failure.tell(),
    }
}
