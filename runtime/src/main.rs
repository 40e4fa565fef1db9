//! `bazaar` runs the trading post and inspects it. `main` maps what the commands return to exit codes.

mod commands;

use std::{process::ExitCode, time::Duration};

use clap::Parser as _;

// No mutant gets in here, whatever features a build unifies (DESIGN 6).
const _: () = assert!(!bazaar_protocol::MUTABLE, "the shipped `bazaar` is built from the protocol without mutants");

/// How long a finished command waits for its output to be read.
const OUTPUT_TIMEOUT: Duration = Duration::from_secs(2);

fn main() -> ExitCode {
    bazaar_runtime::store::install_panic_filter();
    // A usage error ends here with code 2, help and version with 0.
    let cli = commands::cli::Cli::parse();
    cli.color.write_global();
    let result = commands::run(cli.command);
    bazaar_runtime::processes::report::flush(OUTPUT_TIMEOUT);
    match result {
        Ok(code) => code,
        Err(failure) => {
            anstream::eprintln!("{}error:{} {failure}", commands::cli::RED, commands::cli::RED.render_reset());
            failure.code()
        }
    }
}
