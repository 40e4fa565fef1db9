//! How members are, and how a full cluster is made to work again.

use crate::{
    client::{Ask, Client},
    data::Revision,
    error::{ReadError, WriteError},
    generated::{self as wire, maintenance_client::MaintenanceClient},
};

/// The number by which members know each other. A cluster that was wiped and made anew has the same ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MemberId(pub u64);

impl std::fmt::Display for MemberId {
    /// As etcd writes it, in hexadecimal.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// What a member says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// The endpoint that was asked.
    pub endpoint: String,
    /// The member that answered.
    pub member: MemberId,
    /// Its version, such as `3.4.23`.
    pub version: String,
    /// Who it believes leads; `None`: nobody, and it neither writes nor answers linearizable reads.
    pub leader: Option<MemberId>,
    /// Its revision; other members may be ahead.
    pub revision: Revision,
    /// How many bytes its database takes on the disk, which is what the quota counts.
    pub size: u64,
    /// How many of them hold something. The rest is given back by [`Client::defragment`].
    pub in_use: u64,
    /// What it complains about, such as an alarm, in its words.
    pub complaints: Vec<String>,
}

/// Something that a member has raised, and that stays so until it is [disarmed](Client::disarm).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Alarm {
    /// Whose alarm it is.
    pub member: MemberId,
    /// What it is about.
    pub kind: AlarmKind,
}

/// What an alarm is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlarmKind {
    /// The space quota is used up: [`WriteError::Full`].
    NoSpace,
    /// The members' data differ. etcd refuses all writes.
    Corrupt,
    /// One that this program does not know, with etcd's number for it.
    Other(i32),
}

impl AlarmKind {
    fn read(kind: i32) -> AlarmKind {
        match wire::AlarmType::try_from(kind) {
            Ok(wire::AlarmType::Nospace) => AlarmKind::NoSpace,
            Ok(wire::AlarmType::Corrupt) => AlarmKind::Corrupt,
            Ok(wire::AlarmType::None) | Err(_) => AlarmKind::Other(kind),
        }
    }

    fn number(self) -> i32 {
        match self {
            AlarmKind::NoSpace => wire::AlarmType::Nospace.into(),
            AlarmKind::Corrupt => wire::AlarmType::Corrupt.into(),
            AlarmKind::Other(kind) => kind,
        }
    }
}

impl Client {
    /// How the member at the endpoint with this number is, whichever is the current one. A member without a leader
    /// answers, too.
    ///
    /// # Errors
    /// If it does not answer in time.
    ///
    /// # Panics
    /// If there is no such endpoint.
    pub async fn status(&self, endpoint: usize) -> Result<MemberStatus, ReadError> {
        let send = |channel, request| async move { MaintenanceClient::new(channel).status(request).await };
        let answer = self.call(endpoint, Ask::Member, wire::StatusRequest {}, send).await?;
        let header = answer.header.unwrap_or_default();
        Ok(MemberStatus {
            endpoint: self.trouble(endpoint, String::new()).endpoint,
            member: MemberId(header.member_id),
            version: answer.version,
            leader: Some(MemberId(answer.leader)).filter(|leader| leader.0 != 0),
            revision: Revision(header.revision),
            size: answer.db_size.unsigned_abs(),
            in_use: answer.db_size_in_use.unsigned_abs(),
            complaints: answer.errors,
        })
    }

    /// All alarms of the cluster that were not disarmed, in order.
    ///
    /// # Errors
    /// If there is no answer.
    pub async fn alarms(&self) -> Result<Vec<Alarm>, ReadError> {
        let query = wire::AlarmRequest { action: wire::alarm_request::AlarmAction::Get.into(), ..Default::default() };
        let send = |channel, request| async move { MaintenanceClient::new(channel).alarm(request).await };
        let answer = self.call(self.current(), Ask::WithLeader, query, send).await?;
        let read =
            |alarm: wire::AlarmMember| Alarm { member: MemberId(alarm.member_id), kind: AlarmKind::read(alarm.alarm) };
        let mut alarms: Vec<Alarm> = answer.alarms.into_iter().map(read).collect();
        alarms.sort_unstable();
        Ok(alarms)
    }

    /// Gives the space that the member at this endpoint does not use back to the disk, and to its quota. The member does
    /// nothing else meanwhile, so do it one member after the other, with a [deadline](Client::with_deadline) for as long
    /// as copying the whole database takes.
    ///
    /// # Errors
    /// If it does not answer in time; it may be done nevertheless.
    ///
    /// # Panics
    /// If there is no such endpoint.
    pub async fn defragment(&self, endpoint: usize) -> Result<(), WriteError> {
        let send = |channel, request| async move { MaintenanceClient::new(channel).defragment(request).await };
        self.call(endpoint, Ask::Member, wire::DefragmentRequest {}, send).await?;
        Ok(())
    }

    /// Ends an alarm. A member that is still out of space raises it again at the next write.
    ///
    /// # Errors
    /// If there is no answer; it may be done nevertheless.
    pub async fn disarm(&self, alarm: Alarm) -> Result<(), WriteError> {
        let query = wire::AlarmRequest {
            action: wire::alarm_request::AlarmAction::Deactivate.into(),
            member_id: alarm.member.0,
            alarm: alarm.kind.number(),
        };
        let send = |channel, request| async move { MaintenanceClient::new(channel).alarm(request).await };
        self.call(self.current(), Ask::WithLeader, query, send).await?;
        Ok(())
    }
}
