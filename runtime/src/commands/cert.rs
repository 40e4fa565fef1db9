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
    system::output::{self, complain},
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
        // Its authority is to be replaced, and has been moved away.
        Some(tls) if tls.dir == tls_dir(config) && !CertificateDir::at(&tls.dir).authority_file().exists() => Ok(()),
        Some(tls) => Err(Failure::Usage(format!(
            "its configuration has certificates already, in {}: `bazaar cert` adds and renews them; for a new \
             authority, move DIR/tls away first",
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
         on several machines: give each bazaar.toml, tls/ca.pem, and the .pem and .key\nof its own members; those of \
         tools only where somebody looks at the run;\ntls/ca.key stays here\n"
    ))?;
    Ok(ExitCode::SUCCESS)
}

/// Where the certificates of a run go.
fn tls_dir(config: &BazaarConfig) -> PathBuf {
    config.dir().join("tls")
}

fn make_all(taken: &mut RunDir, days: u32) -> Result<(), Failure> {
    let run = key_of(taken.config())?.run;
    let path = tls_dir(taken.config());
    let dir = CertificateDir::at(&path);
    let authority = dir.create(run)?;
    for identity in Identity::all(taken.config().peers()) {
        make(&dir, &authority, run, identity, days)?;
    }
    let revoked = taken.config().tls().map(|tls| tls.revoked.clone()).unwrap_or_default();
    Ok(taken.set_tls(TlsSettings { dir: path, revoked })?)
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
        let mut replaced = Vec::new();
        for identity in of {
            // One that cannot be read has no number that could be revoked.
            let former = self.certificates.facts(*identity).ok().flatten();
            make(&self.certificates, &authority, self.run, *identity, days)?;
            if let Some(Facts { serial, not_after, .. }) = self.certificates.facts(*identity)? {
                text += &format!("{identity}: serial {serial}, valid until {not_after}\n");
            }
            if let Some(Facts { serial, .. }) = former {
                text += &format!("  replaces serial {serial}\n");
                if !self.settings.revoked.contains(&serial) {
                    replaced.push(serial.to_string());
                }
            }
        }
        text += &format!(
            "wrote the .pem and .key of each into {}\ncopy them to the machine of that member, which takes them up \
             when it is started\n",
            output::shown(&self.settings.dir)
        );
        if !replaced.is_empty() {
            text += &format!(
                "what they replace is accepted until it expires; to have it refused:\nbazaar cert revoke {} --serial \
                 {}\n",
                output::shown(&self.dir),
                replaced.join(",")
            );
        }
        print(&text)?;
        Ok(ExitCode::SUCCESS)
    }

    /// The state of a certificate, in few words.
    fn state(&self, of: Identity, facts: &Facts) -> String {
        let loaded = self.certificates.load(self.run, [of], &self.settings.revoked);
        let Err(error) = loaded else { return left(facts) };
        match error {
            CertificateFileError::Refused { fault, .. } => match fault {
                CertificateFault::Untimely(untimely) => out_of_time(untimely),
                CertificateFault::Foreign => "foreign",
                CertificateFault::Revoked => "revoked",
                CertificateFault::OfAnother(_) => "another's",
                CertificateFault::Unusable(_) => "unusable",
            },
            CertificateFileError::OfAnother { .. } => "another's",
            CertificateFileError::Missing { .. } => "no key here",
            CertificateFileError::Exposed { .. } | CertificateFileError::Owned { .. } => "exposed key",
            CertificateFileError::Writable { .. } => "exposed",
            CertificateFileError::Mismatch { .. } => "another key",
            CertificateFileError::Io { .. }
            | CertificateFileError::Unreadable { .. }
            | CertificateFileError::Exists(_)
            | CertificateFileError::Making(_) => "unusable",
        }
        .to_owned()
    }
}

/// How long a certificate is valid, in few words.
fn left(facts: &Facts) -> String {
    let left = (facts.not_after.0 - Seconds::now().0) / 86_400;
    let left_in_words = format!("{} left", counted(u32::try_from(left).unwrap_or(u32::MAX), "day"));
    if left < SOON { format!("{left_in_words}: renew") } else { left_in_words }
}

fn out_of_time(untimely: Untimely) -> &'static str {
    match untimely {
        Untimely::Expired { .. } => "expired",
        Untimely::NotYet { .. } => "not valid yet",
    }
}

/// Whose a certificate is, what is in it if there is one that can be read, and its state in few words.
type Line = (String, Option<Facts>, String);

/// The lines of the authority: one, or several while one takes over from another.
fn authority_lines(certificates: &CertificateDir) -> Vec<Line> {
    let line = |facts: Option<Facts>, state: String| ("ca".to_owned(), facts, state);
    match certificates.authority_facts() {
        Err(_) => vec![line(None, "unreadable".to_owned())],
        Ok(none) if none.is_empty() => vec![line(None, "none here".to_owned())],
        Ok(authorities) => {
            let state = |facts: &Facts| match facts.is_valid_at(Seconds::now()) {
                _ if !facts.is_authority => "no authority's".to_owned(),
                Ok(()) => left(facts),
                Err(untimely) => out_of_time(untimely).to_owned(),
            };
            authorities.into_iter().map(|facts| line(Some(facts.clone()), state(&facts))).collect()
        }
    }
}

fn show(flags: &CertShow) -> Result<ExitCode, Failure> {
    let run = Certified::at(&flags.dir)?;
    let member_line = |of: Identity| match run.certificates.facts(of) {
        Ok(Some(facts)) => (of.file_stem(), Some(facts.clone()), run.state(of, &facts)),
        Ok(None) => (of.file_stem(), None, "none here".to_owned()),
        Err(_) => (of.file_stem(), None, "unreadable".to_owned()),
    };
    let lines: Vec<Line> = authority_lines(&run.certificates).into_iter().chain(run.all().map(member_line)).collect();
    if flags.json {
        let line = |(of, facts, state): &Line| {
            let serial = facts.as_ref().map(|facts| facts.serial.to_string());
            let from = facts.as_ref().map(|facts| facts.not_before.to_string());
            let until = facts.as_ref().map(|facts| facts.not_after.to_string());
            json!({ "member": of, "serial": serial, "from": from, "until": until, "state": state })
        };
        print_json(&lines.iter().map(line).collect::<Vec<_>>())?;
        return Ok(ExitCode::SUCCESS);
    }
    let row = |(of, facts, state): &Line| {
        let none = || "-".to_owned();
        let serial = facts.as_ref().map_or_else(none, |facts| facts.serial.to_string());
        let until = facts.as_ref().map_or_else(none, |facts| facts.not_after.to_string());
        vec![of.clone(), serial, until, state.clone()]
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
        match run.certificates.facts(of) {
            Ok(None) => missing.push(of),
            // That of one member keeps nobody else from getting one.
            Err(error) if !are_named => complain(&format!("warning: {error}")),
            Err(error) => return Err(error.into()),
            Ok(Some(_)) if are_named => {
                return Err(Failure::Usage(format!(
                    "{of} has a certificate already, {}: `bazaar cert renew` makes a new one",
                    output::shown(&run.certificates.certificate_file(of))
                )));
            }
            Ok(Some(_)) => {}
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
    // What cannot be read issues nothing here.
    let authorities = run.certificates.authority_facts().unwrap_or_default();
    if let Some(serial) = serials.iter().find(|serial| authorities.iter().any(|facts| facts.serial == **serial)) {
        return Err(Failure::Usage(format!(
            "{serial} is the authority's own, and cannot be revoked: to have everything refused that it has issued, \
             move DIR/tls away, and `bazaar init --tls DIR` makes a new one"
        )));
    }
    run_dir::revoke(&run.dir, serials.iter().cloned())?;
    let tools = run.certificates.facts(Identity::Tools).ok().flatten();
    let are_tools = tools.is_some_and(|facts| serials.contains(&facts.serial));
    let serials: Vec<String> = serials.iter().map(Serial::to_string).collect();
    let config = output::shown(&config_file(&run.dir));
    print(&format!(
        "revoked {}\ncopy {config} to the other machines, and start the\nprocesses of the run again, one after the \
         other: each refuses it from then on\n",
        serials.join(", ")
    ))?;
    if !are_tools {
        let dir = output::shown(&run.dir);
        print(&format!(
            "whoever has a copy of tools.pem and tools.key still gets in with those, as the\ntools; to keep a machine \
             out that has them:\nbazaar cert revoke {dir} --tools, then bazaar cert renew {dir} --tools\n"
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}

impl From<CertificateFileError> for Failure {
    fn from(error: CertificateFileError) -> Failure {
        Failure::Access(AccessError::Certificates(error))
    }
}
