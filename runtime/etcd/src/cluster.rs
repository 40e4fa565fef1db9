//! An etcd of one's own on this machine: one node, or three, each a process, on loopback, with its data in a directory.
//! For tests, and for trying; who wants books that outlive a machine runs etcd on several.
//!
//! It takes the program `etcd` (in Debian's package `etcd-server`); tests that need it are skipped, and say so, where it
//! is missing, or fail if `BAZAAR_ETCD_REQUIRED` is set. The nodes are killed when the [`Cluster`] is dropped
//! and when this process ends, however it does; their data stay, and a cluster that is started in the same directory
//! goes on with them.

use std::{
    collections::hash_map::RandomState,
    env,
    fs::{self, DirBuilder, File, OpenOptions},
    hash::{BuildHasher as _, Hasher as _},
    io::{self, Read as _, Seek as _, SeekFrom, Write as _},
    net::{Ipv4Addr, TcpListener},
    os::unix::{fs::DirBuilderExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tokio::time::{Instant, sleep};

use crate::{
    client::Client,
    data::{Keys, Range},
    error::ReadError,
    settings::{Endpoints, EndpointsError, Settings, SettingsError, Tls},
};

/// Names the program where it is not `etcd` in `PATH`.
pub const PROGRAM: &str = "BAZAAR_ETCD";

/// The file in a cluster's directory that says which ports its nodes have: they are part of their data.
const PORTS: &str = "ports";

/// How long the nodes may take to elect a leader and answer.
const STARTING: Duration = Duration::from_secs(30);

/// How often nodes that start are asked whether they are there.
const ASKING: Duration = Duration::from_millis(20);

/// How long the nodes of an earlier process in the same directory may take to end: that process may have been killed only
/// just now, and what kills its nodes then takes a moment.
const ENDING: Duration = Duration::from_secs(5);

/// How long a node that is told to halt may take.
const HALTING: Duration = Duration::from_secs(1);

/// How often a new cluster tries other ports, if somebody else has taken one between finding it free and using it.
const TRIES: usize = 5;

/// How much of a node's log an error quotes, in bytes.
const QUOTED: u64 = 2_000;

/// What to start.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Where the nodes keep their data and logs. It is made, for this user alone, if it is missing.
    pub dir: PathBuf,
    /// How many nodes; 1 and 3 make sense. Of three, any one may be gone.
    pub nodes: usize,
    /// The program; `None`: what [`program`] finds.
    pub program: Option<PathBuf>,
    /// How many bytes a node's database may take on the disk; `None`: etcd's 2 GiB.
    pub quota: Option<u64>,
    /// Certificates for clients and between the nodes; `None`: all in the clear.
    pub tls: Option<NodeTls>,
}

impl Plan {
    /// This many nodes in this directory, without TLS, with etcd's own quota.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, nodes: usize) -> Plan {
        Plan { dir: dir.into(), nodes, program: None, quota: None, tls: None }
    }
}

/// Files in PEM, the same for all nodes. Clients must show a certificate of the same authority.
#[derive(Clone, Debug)]
pub struct NodeTls {
    /// The authority that signed all certificates.
    pub authority: PathBuf,
    /// The nodes' certificate, for 127.0.0.1, as server and as client.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// Why a cluster did not start, or a node did not start again. No node is left running.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// Install it, or say where it is.
    #[error(
        "there is no etcd here: install it (the package etcd-server in Debian and Ubuntu), or name the program in \
         {PROGRAM}"
    )]
    NoProgram,
    /// The program cannot be run.
    #[error("cannot run {}: {error}", program.display())]
    Run {
        /// The program.
        program: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
    /// The directory cannot be used, or what is in it was left by a cluster of another size.
    #[error("cannot use {}: {error}", path.display())]
    Files {
        /// The file or directory.
        path: PathBuf,
        /// The operating system's error.
        error: io::Error,
    },
    /// Another process has a port that these nodes had before. Stop it: nodes with data keep their ports.
    #[error("port {0} is taken by another process, and the nodes' data are bound to it")]
    PortTaken(u16),
    /// A node ended at once. Its log says why.
    #[error("node {node} ended with {status}; the end of its log, {}:\n{tail}", log.display())]
    Ended {
        /// Which.
        node: usize,
        /// How.
        status: ExitStatus,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// The nodes run, but did not become one cluster in time.
    #[error("the nodes did not answer within {within:?} ({why}); the end of a log, {}:\n{tail}", log.display())]
    Unhealthy {
        /// How long they had.
        within: Duration,
        /// The last complaint.
        why: String,
        /// The log of the node that was asked last.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// The nodes' certificates cannot be used by a client either.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// A cluster needs at least one node.
    #[error(transparent)]
    Endpoints(#[from] EndpointsError),
}

/// The program that clusters are made of: what [`PROGRAM`] names, otherwise the first `etcd` in `PATH`.
#[must_use]
pub fn program() -> Option<PathBuf> {
    if let Some(named) = env::var_os(PROGRAM).filter(|named| !named.is_empty()) {
        return Some(PathBuf::from(named)).filter(|program| program.is_file());
    }
    let path = env::var_os("PATH")?;
    env::split_paths(&path).map(|folder| folder.join("etcd")).find(|program| program.is_file())
}

/// Running nodes.
#[derive(Debug)]
pub struct Cluster {
    plan: Plan,
    program: PathBuf,
    /// For clients and for peers, by node.
    ports: Vec<(u16, u16)>,
    nodes: Vec<Option<Node>>,
}

impl Cluster {
    /// Starts the nodes, and returns once each of them knows a leader and answers a linearizable read. `trust` is what a
    /// client needs to ask them, where they use TLS.
    ///
    /// # Errors
    /// If they cannot be started, one ends, or they do not become healthy within 30 s. None is left running then. Ports
    /// that nodes in this directory had before may be taken for 5 s more.
    pub async fn start(plan: Plan, trust: Option<Tls>) -> Result<Cluster, ClusterError> {
        let program = plan.program.clone().or_else(program).ok_or(ClusterError::NoProgram)?;
        let files = |path: &Path| {
            let path = path.to_owned();
            move |error| ClusterError::Files { path, error }
        };
        DirBuilder::new().recursive(true).mode(0o700).create(&plan.dir).map_err(files(&plan.dir))?;
        let noted = plan.dir.join(PORTS);
        let kept = read_ports(&noted, plan.nodes).map_err(files(&noted))?;
        let is_new = kept.is_none();
        let mut tries = 0;
        let mut ports = match kept {
            Some(ports) => ports,
            None => free_ports(plan.nodes),
        };
        if !is_new {
            wait_until_free(&ports, ENDING).await?;
        }
        loop {
            tries += 1;
            if is_new {
                write_ports(&noted, &ports).map_err(files(&noted))?;
            }
            let nodes = std::iter::repeat_with(|| None).take(plan.nodes).collect();
            let mut cluster = Cluster { plan: plan.clone(), program: program.clone(), ports, nodes };
            let started = match cluster.start_all() {
                Ok(()) => cluster.wait_until_healthy(STARTING, trust.clone()).await,
                Err(error) => Err(error),
            };
            match started {
                Ok(()) => return Ok(cluster),
                Err(ClusterError::PortTaken(_)) if is_new && tries < TRIES => {
                    // Nothing has been written to it yet that anybody was told of.
                    for node in 0..plan.nodes {
                        cluster.kill(node);
                        let data = cluster.data(node);
                        match fs::remove_dir_all(&data) {
                            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(files(&data)(error)),
                            Ok(()) | Err(_) => {}
                        }
                    }
                    ports = free_ports(plan.nodes);
                }
                Err(error) => return Err(error),
            }
        }
    }

    fn start_all(&mut self) -> Result<(), ClusterError> {
        (0..self.plan.nodes).try_for_each(|node| self.restart(node))
    }

    /// Where the nodes serve clients, in their order.
    #[must_use]
    pub fn endpoints(&self) -> Vec<String> {
        let scheme = self.scheme();
        self.ports.iter().map(|(client, _)| format!("{scheme}://127.0.0.1:{client}")).collect()
    }

    /// The process of a node that runs, or is at least not known to have ended.
    #[must_use]
    pub fn pid(&self, node: usize) -> Option<u32> {
        self.nodes[node].as_ref().map(|node| node.child.id())
    }

    /// The file that a node logs into.
    #[must_use]
    pub fn log(&self, node: usize) -> PathBuf {
        self.plan.dir.join(format!("node-{node}.log"))
    }

    /// Kills a node, as a crash would, and waits until it is gone. Nothing happens if it is gone already.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node] = None;
    }

    /// Halts a node, and waits until it is halted: its connections stay open, and nothing is answered.
    pub fn pause(&self, node: usize) {
        self.signal(node, Signal::STOP);
        let is_halted = || self.nodes[node].as_ref().is_none_or(Node::is_halted);
        let ends = std::time::Instant::now() + HALTING;
        while !is_halted() && std::time::Instant::now() < ends {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Lets a halted node go on.
    pub fn resume(&self, node: usize) {
        self.signal(node, Signal::CONT);
    }

    fn signal(&self, node: usize, signal: Signal) {
        if let Some(node) = &self.nodes[node] {
            node.signal(signal);
        }
    }

    /// Starts a node again that was killed or has ended, with its data. Does not wait until it answers; for that there is
    /// [`Cluster::wait_until_healthy`].
    ///
    /// # Errors
    /// If it cannot be run, or its port is taken.
    pub fn restart(&mut self, node: usize) -> Result<(), ClusterError> {
        self.kill(node);
        let (client, peer) = self.ports[node];
        if let Some(port) = [client, peer].into_iter().find(|port| !is_free(*port)) {
            return Err(ClusterError::PortTaken(port));
        }
        let log = self.log(node);
        let failed = |error| ClusterError::Files { path: log.clone(), error };
        let out = OpenOptions::new().create(true).append(true).open(&log).map_err(failed)?;
        let err = out.try_clone().map_err(failed)?;
        let mut command = Command::new(&self.program);
        command.args(self.flags(node)).stdin(Stdio::null()).stdout(out).stderr(err);
        // Variables would count like flags. Only this one is no flag: some machines are not supported without it.
        for (variable, _) in env::vars_os() {
            let is_flag = variable.to_string_lossy().starts_with("ETCD_") && variable != "ETCD_UNSUPPORTED_ARCH";
            if is_flag {
                command.env_remove(variable);
            }
        }
        let run = |error| ClusterError::Run { program: self.program.clone(), error };
        self.nodes[node] = Some(Node::start(&mut command).map_err(run)?);
        Ok(())
    }

    /// The nodes that have ended by themselves since this was last called, and how; whoever wants them back starts them
    /// [again](Cluster::restart).
    pub fn ended(&mut self) -> Vec<(usize, u32, ExitStatus)> {
        let mut ended = Vec::new();
        for (node, slot) in self.nodes.iter_mut().enumerate() {
            if let Some(running) = slot
                && let Some(status) = running.ended()
            {
                ended.push((node, running.child.id(), status));
                *slot = None;
            }
        }
        ended
    }

    /// Waits until each node that runs knows a leader and answers a linearizable read. `trust` is as for
    /// [`Cluster::start`].
    ///
    /// # Errors
    /// If one has ended, or they do not answer within this time.
    pub async fn wait_until_healthy(&mut self, within: Duration, trust: Option<Tls>) -> Result<(), ClusterError> {
        let ends = Instant::now() + within;
        for node in 0..self.plan.nodes {
            if self.nodes[node].is_none() {
                continue;
            }
            let mut settings = Settings::new(Endpoints::parse([&self.endpoints()[node]])?);
            settings.tls = trust.clone();
            let client = Client::new(&settings)?;
            loop {
                self.check_runs(node)?;
                let why = match answers(&client).await {
                    Ok(true) => break,
                    Ok(false) => "no leader".to_owned(),
                    Err(error) => error.to_string(),
                };
                if Instant::now() >= ends {
                    let log = self.log(node);
                    return Err(ClusterError::Unhealthy { within, why, tail: tail(&log), log });
                }
                sleep(ASKING).await;
            }
        }
        Ok(())
    }

    /// Whether a node has not ended by itself.
    fn check_runs(&mut self, node: usize) -> Result<(), ClusterError> {
        let Some(status) = self.nodes[node].as_mut().and_then(Node::ended) else { return Ok(()) };
        self.nodes[node] = None;
        let log = self.log(node);
        let tail = tail(&log);
        if tail.contains("address already in use") {
            let (client, peer) = self.ports[node];
            let taken = if tail.contains(&format!(":{peer}: bind")) { peer } else { client };
            return Err(ClusterError::PortTaken(taken));
        }
        Err(ClusterError::Ended { node, status, log, tail })
    }

    fn data(&self, node: usize) -> PathBuf {
        self.plan.dir.join(format!("node-{node}"))
    }

    fn scheme(&self) -> &'static str {
        if self.plan.tls.is_some() { "https" } else { "http" }
    }

    fn flags(&self, node: usize) -> Vec<String> {
        let scheme = self.scheme();
        let url = |port: u16| format!("{scheme}://127.0.0.1:{port}");
        let (client, peer) = self.ports[node];
        let all = self.ports.iter().enumerate().map(|(node, (_, peer))| format!("node-{node}={}", url(*peer)));
        let all = all.collect::<Vec<_>>().join(",");
        let data = self.data(node);
        let mut flags = Vec::new();
        let mut flag = |name: &str, value: &str| flags.push(format!("--{name}={value}"));
        flag("name", &format!("node-{node}"));
        flag("data-dir", &data.to_string_lossy());
        flag("listen-client-urls", &url(client));
        flag("advertise-client-urls", &url(client));
        flag("listen-peer-urls", &url(peer));
        flag("initial-advertise-peer-urls", &url(peer));
        flag("initial-cluster", &all);
        flag("initial-cluster-state", "new");
        // Keeps nodes apart that get the port of a node of another cluster.
        flag("initial-cluster-token", &self.plan.dir.to_string_lossy());
        // On one machine, messages take no time, so that a dead leader can be noticed early.
        flag("heartbeat-interval", "50");
        flag("election-timeout", "500");
        flag("pre-vote", "true");
        // Otherwise all that any key has ever held is kept.
        flag("auto-compaction-mode", "periodic");
        flag("auto-compaction-retention", "10m");
        flag("logger", "zap");
        flag("log-outputs", "stderr");
        if let Some(quota) = self.plan.quota {
            flag("quota-backend-bytes", &quota.to_string());
        }
        if let Some(tls) = &self.plan.tls {
            for side in ["", "peer-"] {
                flag(&format!("{side}trusted-ca-file"), &tls.authority.to_string_lossy());
                flag(&format!("{side}cert-file"), &tls.certificate.to_string_lossy());
                flag(&format!("{side}key-file"), &tls.key.to_string_lossy());
                flag(&format!("{side}client-cert-auth"), "true");
            }
        }
        flags
    }
}

/// Whether a node has a leader and answers.
async fn answers(client: &Client) -> Result<bool, ReadError> {
    if client.status(0).await?.leader.is_none() {
        return Ok(false);
    }
    // Any key will do; one is enough.
    client.range(Range { limit: Some(1), ..Range::now(Keys::prefix("")) }).await?;
    Ok(true)
}

/// A process, and another that kills it when this one is gone.
#[derive(Debug)]
struct Node {
    child: Child,
    /// Waits for the end of its standard input, which comes when this process ends.
    guard: Child,
}

impl Node {
    fn start(command: &mut Command) -> io::Result<Node> {
        // A Ctrl-C is meant for this process, which then stops the others.
        let mut child = command.process_group(0).spawn()?;
        let guard = Command::new("/bin/sh")
            .args(["-c", "read _; kill -KILL \"$1\"", "sh", &child.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn();
        match guard {
            Ok(guard) => Ok(Node { child, guard }),
            Err(error) => {
                end(&mut child);
                Err(error)
            }
        }
    }

    /// How it has ended, if it has.
    fn ended(&mut self) -> Option<ExitStatus> {
        // From here on its number may be another's, so nobody may be left who would kill that.
        let is_zombie = fs::read_to_string(format!("/proc/{}/stat", self.child.id()))
            .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('Z')));
        if is_zombie {
            end(&mut self.guard);
        }
        if is_zombie { self.child.try_wait().ok().flatten() } else { None }
    }

    /// Whether each of its threads is; one that is at work when it is told to stop may take a little longer.
    fn is_halted(&self) -> bool {
        let Ok(threads) = fs::read_dir(format!("/proc/{}/task", self.child.id())) else { return true };
        threads.flatten().all(|thread| {
            let status = fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
            // The name before it may hold anything.
            status.rsplit(") ").next().is_none_or(|rest| !rest.starts_with(['R', 'S', 'D']))
        })
    }

    fn signal(&self, signal: Signal) {
        // Its number is its own until it has been waited for, which is done when it is dropped.
        if let Some(pid) = Pid::from_raw(i32::try_from(self.child.id()).unwrap_or_default()) {
            let _ = kill_process(pid, signal);
        }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        end(&mut self.guard);
        end(&mut self.child);
    }
}

/// Kills a child and waits for its end. It was not waited for before, or nothing happens.
fn end(child: &mut Child) {
    let _ = child.kill();
    let _ = child.wait();
}

/// The end of a file, as text.
fn tail(file: &Path) -> String {
    let read = || {
        let mut file = File::open(file)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(QUOTED)))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        io::Result::Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    read().unwrap_or_else(|error| format!("(cannot be read: {error})"))
}

/// Whether nobody listens at a port on loopback.
fn is_free(port: u16) -> bool {
    TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok()
}

async fn wait_until_free(ports: &[(u16, u16)], within: Duration) -> Result<(), ClusterError> {
    let ends = Instant::now() + within;
    for port in ports.iter().flat_map(|(client, peer)| [*client, *peer]) {
        while !is_free(port) {
            if Instant::now() >= ends {
                return Err(ClusterError::PortTaken(port));
            }
            sleep(ASKING).await;
        }
    }
    Ok(())
}

/// Ports on loopback that nobody listens at, for clients and for peers of each node. They are below those that the
/// system gives to outgoing connections: on loopback, a client that dials a port from that range at which nobody listens
/// may be given the same port, reach itself, and keep the node from it.
fn free_ports(nodes: usize) -> Vec<(u16, u16)> {
    const LOWEST: u16 = 15_000;
    const HIGHEST: u16 = 32_000;
    // Each `RandomState` has keys of its own.
    let mut random = RandomState::new().build_hasher();
    random.write_u32(std::process::id());
    let span = u64::from(HIGHEST - LOWEST);
    let first = u16::try_from(random.finish() % span).unwrap_or_default();
    let candidates = (LOWEST..HIGHEST).cycle().skip(usize::from(first)).take(usize::from(HIGHEST - LOWEST));
    let mut free = candidates.filter(|port| is_free(*port));
    // If none is free at all, the nodes will say so.
    (0..nodes).map(|_| (free.next().unwrap_or(LOWEST), free.next().unwrap_or(LOWEST))).collect()
}

fn write_ports(file: &Path, ports: &[(u16, u16)]) -> io::Result<()> {
    let mut out = File::create(file)?;
    ports.iter().try_for_each(|(client, peer)| writeln!(out, "{client} {peer}"))
}

/// The ports of a cluster that was here before; `None` if none was.
fn read_ports(file: &Path, nodes: usize) -> io::Result<Option<Vec<(u16, u16)>>> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let line = |line: &str| {
        let (client, peer) = line.split_once(' ')?;
        Some((client.parse().ok()?, peer.parse().ok()?))
    };
    let ports: Option<Vec<(u16, u16)>> = text.lines().map(line).collect();
    match ports.filter(|ports| ports.len() == nodes) {
        Some(ports) => Ok(Some(ports)),
        None => Err(io::Error::new(io::ErrorKind::InvalidData, format!("these are not the ports of {nodes} nodes"))),
    }
}
