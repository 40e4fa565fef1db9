//! `bazaar init --tls` and `bazaar cert`: the certificates of a run (SPEC J1).

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use bazaar_protocol::{id::PeerId, text::counted};
use bazaar_runtime::{
    config::{
        BazaarConfig, RawConfig, TlsSettings,
        run_dir::{self, RunDir, config_file},
    },
    network::hello::RunId,
    system::output,
    tls::{
        Identity,
        authority::Authority,
        certificate::{Facts, Seconds, Serial, Untimely},
        files::{CertificateDir, CertificateFileError},
        handshake::CertificateFault,
    },
    tools::access::{AccessError, key_of},
};
use serde_json::json;

use super::cli::{Cert, CertAction, CertMake, CertRevoke, CertShow, Init, Whose};
use super::{Failure, print, print_json, table::table};

/// How soon a certificate ends that is to be renewed, in days.
const SOON: i64 = 30;

/// Makes the directory of a run whose members have certificates, or gives certificates to the run that is in it.
pub fn init(dir: &Path, flags: &Init) -> Result<ExitCode, Failure> {
    let file = flags.config.as_deref().map(RawConfig::read).transpose()?;
    let is_drawn = file.is_none() && !config_file(dir).exists();
    let seed = is_drawn.then(|| u64::from(rand::random::<u16>()));
    let ask = |raw: &mut RawConfig| {
        if let Some(peers) = &flags.peers {
            raw.set_number("--peers", "peers", peers)?;
        }
        seed.map_or(Ok(()), |seed| raw.set("--seed", &format!("seed = {seed}")))
    };
    let mut taken = RunDir::take(dir, file, ask, |config| match config.tls() {
        Some(tls) => Err(Failure::Usage(format!(
            "its configuration has certificates already, in {}: `bazaar cert` adds and renews them",
            output::shown(&tls.dir)
        ))),
        None => Ok(()),
    })?;
    match make_all(&mut taken, flags.days) {
        Ok(()) => {}
        Err(failure) => {
            taken.discard();
            return Err(failure);
        }
    }
    let (peers, until) = (counted(taken.config().peers(), "peer"), Seconds::now().plus_days(flags.days));
    let shown = output::shown(dir);
    print(&format!(
        "wrote {shown}: an authority, and certificates for {peers}, the ledger and the\ntools, valid until {until}\n\
         now: bazaar run --dir {shown}\n\
         on several machines: give each bazaar.toml, tls/ca.pem, tls/tools.pem and .key,\nand the .pem and .key of its \
         own members; tls/ca.key stays here\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}

fn make_all(taken: &mut RunDir, days: u32) -> Result<(), Failure> {
    let run = key_of(taken.config())?.run;
    let path = taken.config().dir().join("tls");
    let dir = CertificateDir::at(&path);
    let authority = dir.create(run)?;
    for identity in Identity::all(taken.config().peers()) {
        make(&dir, &authority, run, identity, days)?;
    }
    Ok(taken.set_tls(TlsSettings { dir: path, revoked: Default::default() })?)
}

fn make(
    dir: &CertificateDir,
    authority: &Authority,
    run: RunId,
    identity: Identity,
    days: u32,
) -> Result<(), CertificateFileError> {
    dir.keep(identity, &authority.issue(run, identity, days)?)
}

pub fn cert(flags: &Cert) -> Result<ExitCode, Failure> {
    match &flags.action {
        CertAction::Show(flags) => show(flags),
        CertAction::Add(flags) => add(flags),
        CertAction::Renew(flags) => renew(flags),
        CertAction::Revoke(flags) => revoke(flags),
    }
}

/// A run that has certificates.
struct Certified {
    dir: PathBuf,
    config: BazaarConfig,
    settings: TlsSettings,
    certificates: CertificateDir,
    run: RunId,
}

impl Certified {
    fn at(dir: &Path) -> Result<Certified, Failure> {
        let config = run_dir::config_of(dir)?;
        let Some(settings) = config.tls().cloned() else {
            let shown = output::shown(dir);
            return Err(Failure::Usage(format!(
                "the run in {shown} has no certificates: `bazaar init --tls {shown}` makes some"
            )));
        };
        let certificates = CertificateDir::at(&settings.dir);
        let run = key_of(&config)?.run;
        Ok(Certified { dir: dir.to_owned(), config, settings, certificates, run })
    }

    fn all(&self) -> impl Iterator<Item = Identity> + use<> {
        Identity::all(self.config.peers())
    }

    /// Those that the flags name.
    fn named(&self, whose: &Whose) -> Result<Vec<Identity>, Failure> {
        let last = self.config.peers() - 1;
        if let Some(id) = whose.peers.iter().find(|id| **id > last) {
            return Err(Failure::Usage(format!("--peer {id}: there is no such peer; ids run from 0 to {last}")));
        }
        let peers = whose.peers.iter().map(|id| Identity::Peer(PeerId(*id)));
        let ledger = whose.ledger.then_some(Identity::Ledger);
        let tools = whose.tools.then_some(Identity::Tools);
        let mut named: Vec<Identity> = ledger.into_iter().chain(tools).chain(peers).collect();
        named.sort_unstable();
        named.dedup();
        Ok(named)
    }

    fn make(&self, of: &[Identity], days: u32) -> Result<ExitCode, Failure> {
        let authority = self.certificates.authority()?;
        let mut text = String::new();
        for identity in of {
            make(&self.certificates, &authority, self.run, *identity, days)?;
            if let Some(Facts { serial, not_after, .. }) = self.certificates.facts(*identity)? {
                text += &format!("{identity}: serial {serial}, valid until {not_after}\n");
            }
        }
        text += &format!(
            "wrote the .pem and .key of each into {}\ncopy them to the machine of that member, which takes them up \
             when it is started\n",
            output::shown(&self.settings.dir)
        );
        print(&text)?;
        Ok(ExitCode::SUCCESS)
    }

    /// The state of a certificate, in few words.
    fn state(&self, of: Identity, facts: &Facts) -> String {
        let loaded = self.certificates.load(self.run, [of], &self.settings.revoked);
        let Err(error) = loaded else {
            let left = (facts.not_after.0 - Seconds::now().0) / 86_400;
            let left_in_words = format!("{} left", counted(u32::try_from(left).unwrap_or(u32::MAX), "day"));
            return if left < SOON { format!("{left_in_words}: renew") } else { left_in_words };
        };
        match error {
            CertificateFileError::Refused { fault, .. } => match fault {
                CertificateFault::Untimely(Untimely::Expired { .. }) => "expired",
                CertificateFault::Untimely(Untimely::NotYet { .. }) => "not valid yet",
                CertificateFault::Foreign => "foreign",
                CertificateFault::Revoked => "revoked",
                CertificateFault::OfAnother(_) => "another's",
                CertificateFault::Unusable(_) => "unusable",
            },
            CertificateFileError::OfAnother { .. } => "another's",
            CertificateFileError::Missing { .. } => "no key here",
            CertificateFileError::Exposed { .. } => "exposed key",
            CertificateFileError::Mismatch { .. } => "another key",
            CertificateFileError::Io { .. }
            | CertificateFileError::Unreadable { .. }
            | CertificateFileError::Exists(_)
            | CertificateFileError::Making(_) => "unusable",
        }
        .to_owned()
    }
}

fn show(flags: &CertShow) -> Result<ExitCode, Failure> {
    let run = Certified::at(&flags.dir)?;
    let lines = run.all().map(|of| {
        let facts = run.certificates.facts(of)?;
        let state = facts.as_ref().map_or_else(|| "none here".to_owned(), |facts| run.state(of, facts));
        Ok((of, facts, state))
    });
    let lines = lines.collect::<Result<Vec<_>, CertificateFileError>>()?;
    if flags.json {
        let line = |(of, facts, state): &(Identity, Option<Facts>, String)| {
            let serial = facts.as_ref().map(|facts| facts.serial.to_string());
            let from = facts.as_ref().map(|facts| facts.not_before.to_string());
            let until = facts.as_ref().map(|facts| facts.not_after.to_string());
            json!({ "member": of.file_stem(), "serial": serial, "from": from, "until": until, "state": state })
        };
        print_json(&lines.iter().map(line).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |(of, facts, state): &(Identity, Option<Facts>, String)| {
        let none = || "-".to_owned();
        let serial = facts.as_ref().map_or_else(none, |facts| facts.serial.to_string());
        let until = facts.as_ref().map_or_else(none, |facts| facts.not_after.to_string());
        vec![of.file_stem(), serial, until, state.clone()]
    };
    let rows: Vec<Vec<String>> = lines.iter().map(row).collect();
    let mut text = table(&["member", "serial", "valid until", "state"], &rows);
    if !run.settings.revoked.is_empty() {
        let revoked: Vec<String> = run.settings.revoked.iter().map(Serial::to_string).collect();
        text += &format!("revoked: {}\n", revoked.join(", "));
    }
    print(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Makes certificates for those that have none.
fn add(flags: &CertMake) -> Result<ExitCode, Failure> {
    let run = Certified::at(&flags.dir)?;
    let mut wanted = run.named(&flags.whose)?;
    let are_named = !wanted.is_empty() && !flags.all;
    if !are_named {
        wanted = run.all().collect();
    }
    let mut missing = Vec::new();
    for of in wanted {
        match run.certificates.facts(of)? {
            None => missing.push(of),
            Some(_) if are_named => {
                return Err(Failure::Usage(format!(
                    "{of} has a certificate already, {}: `bazaar cert renew` makes a new one",
                    output::shown(&run.certificates.certificate_file(of))
                )));
            }
            Some(_) => {}
        }
    }
    if missing.is_empty() {
        return Err(Failure::Usage("everybody has a certificate: `bazaar cert renew` makes new ones".to_owned()));
    }
    run.make(&missing, flags.days)
}

/// Makes new certificates, also for those whose certificates have been moved to another machine.
fn renew(flags: &CertMake) -> Result<ExitCode, Failure> {
    let run = Certified::at(&flags.dir)?;
    let wanted = if flags.all { run.all().collect() } else { run.named(&flags.whose)? };
    if wanted.is_empty() {
        return Err(Failure::Usage("say whose: --peer ID, --ledger, --tools, or --all".to_owned()));
    }
    run.make(&wanted, flags.days)
}

/// Adds serial numbers to the list of those that are refused.
fn revoke(flags: &CertRevoke) -> Result<ExitCode, Failure> {
    let run = Certified::at(&flags.dir)?;
    let mut serials = flags.serials.clone();
    for of in run.named(&flags.whose)? {
        let facts = run.certificates.facts(of)?.ok_or_else(|| {
            Failure::Usage(format!("the certificate of {of} is not here: give its number with --serial"))
        })?;
        serials.push(facts.serial);
    }
    if serials.is_empty() {
        return Err(Failure::Usage("say which: --peer ID, --ledger, --tools, or --serial NUMBER".to_owned()));
    }
    let mut settings = run.settings.clone();
    settings.revoked.extend(serials.iter().cloned());
    run_dir::leave_config(&run.dir, &run.config.with_tls(settings))?;
    let serials: Vec<String> = serials.iter().map(Serial::to_string).collect();
    let config = output::shown(&config_file(&run.dir));
    print(&format!(
        "revoked {}\ncopy {config} to the other machines, and start the\nprocesses of the run again, one after the \
         other: each refuses it from then on\n",
        serials.join(", ")
    ))?;
    Ok(ExitCode::SUCCESS)
}

impl From<CertificateFileError> for Failure {
    fn from(error: CertificateFileError) -> Failure {
        Failure::Access(AccessError::Certificates(error))
    }
}
