//! How much room is left, and what to do when there is none.

use std::fmt;

use bazaar_etcd::{Alarm, AlarmKind, MemberStatus};
use bazaar_protocol::id::Position;
use futures::future::join_all;

use super::{Base, EtcdStore, ReadError, keys, value::State};

/// How much room a cluster's members have taken, and whether they are full. etcd does not say what their quota is; it
/// is 2 GiB unless `--quota-backend-bytes` says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Space {
    /// What the members say of themselves, those that answer.
    pub members: Vec<MemberStatus>,
    /// What they have raised. A cluster stays full until the alarm is ended, even if there is room again.
    pub alarms: Vec<Alarm>,
    /// The position of the snapshot in force, below which the log can be deleted; `None` if that is not known.
    pub base: Option<Position>,
    /// The four commands, as [`Space::remedy`] gives them.
    remedy: String,
}

impl Space {
    /// Whether appends are refused for want of room.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.alarms.iter().any(|alarm| alarm.kind == AlarmKind::NoSpace)
    }

    /// What makes room: four commands, one a line, in this order. Whoever runs them adds what etcdctl needs to get in
    /// (`--cacert`, `--user`). The first one deletes all records below the snapshot in force, also what is kept of them as
    /// history: the books can then be audited from that snapshot on.
    #[must_use]
    pub fn remedy(&self) -> &str {
        &self.remedy
    }
}

/// "the cluster is full" and what to do, or how much room is taken.
impl fmt::Display for Space {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for member in &self.members {
            writeln!(f, "{}: {} bytes, {} of them in use", member.endpoint, member.size, member.in_use)?;
        }
        if !self.is_full() {
            return f.write_str("the cluster is not full");
        }
        f.write_str("the cluster is full, and nothing can be appended until these four have been run:\n")?;
        f.write_str(&self.remedy)?;
        f.write_str(if self.base.is_none_or(|base| base == Position(0)) {
            "\n(there is no snapshot, so nothing can be deleted: start etcd with a larger quota instead)"
        } else {
            "\n(the first one deletes the history below the latest snapshot; an audit will begin there)"
        })
    }
}

impl EtcdStore {
    /// How much room there is. Members that do not answer are left out.
    ///
    /// # Errors
    /// If no member tells the cluster's alarms, or what the store holds.
    pub async fn space(&self) -> Result<Space, ReadError> {
        let State { base, .. } = self.state().await?;
        let alarms = self.client.alarms().await.map_err(|source| self.unanswered(source))?;
        let asked = (0..self.client.endpoints().len()).map(|endpoint| self.client.status(endpoint));
        let members = join_all(asked).await.into_iter().flatten().collect();
        let base = base.map(|base| base.position());
        Ok(Space { members, alarms, base, remedy: self.remedy(base.unwrap_or_default()) })
    }

    /// The command that deletes all records below the snapshot in force: the first one of the [remedy](Space::remedy).
    #[must_use]
    pub fn cut(&self, base: &Base) -> String {
        self.cut_at(base.position())
    }

    fn etcdctl(&self) -> String {
        format!("etcdctl --endpoints={}", self.client.endpoints().collect::<Vec<_>>().join(","))
    }

    fn cut_at(&self, base: Position) -> String {
        let [from, to] = [Position(0), base].map(|at| quoted(&keys::text(&self.names().batch(at))));
        format!("{} del {from} {to}", self.etcdctl())
    }

    fn remedy(&self, base: Position) -> String {
        let (cut, etcdctl) = (self.cut_at(base), self.etcdctl());
        let any = quoted(&keys::text(&self.names().run()));
        let revision = format!("$({etcdctl} get {any} -w json | sed 's/.*\"revision\":\\([0-9]*\\).*/\\1/')");
        format!(
            "{cut}\n\
             {etcdctl} compact --physical {revision}\n\
             {etcdctl} --command-timeout=10m defrag\n\
             {etcdctl} alarm disarm"
        )
    }
}

/// Text as one word of a shell's command.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}
