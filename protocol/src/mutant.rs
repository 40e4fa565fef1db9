//! The seam for mutants: places where a safety line can be removed, to see that a check notices (DESIGN 6).
//!
//! A site reads `mutant!(what is right; Name => what the mutant does)`. In `bazaar-protocol` it expands to what is
//! right, and nothing of the mutant is compiled. `bazaar-protocol-mutants` is the same files with the feature
//! `mutants`: there all mutants are built in, and `switch` turns one of them on for the whole process. Several may
//! share a site, as in `mutant!(what is right; A | B => this, C => that)`; `mutant!(A => extra)` is something that only
//! the mutant does. Where a mutant needs more than a line, that is a function in `mutants.rs` beside its machine.
//!
//! A mutant is the fault that its sentence names and no more. Where two guards hide each other, it removes both.

#[cfg(not(feature = "mutants"))]
macro_rules! mutant {
    ($($name:ident)|+ => $extra:expr) => {{}};
    ($right:expr; $($($name:ident)|+ => $mutated:expr),+) => {
        $right
    };
}

#[cfg(feature = "mutants")]
macro_rules! mutant {
    ($($name:ident)|+ => $extra:expr) => {
        if $($crate::mutant::is($crate::mutant::Mutant::$name))||+ { $extra }
    };
    ($right:expr; $($($name:ident)|+ => $mutated:expr),+) => {
        $(if $($crate::mutant::is($crate::mutant::Mutant::$name))||+ { $mutated } else)+ { $right }
    };
}

#[cfg(feature = "mutants")]
pub use catalogue::{Mutant, active, switch};

#[cfg(feature = "mutants")]
pub(crate) use catalogue::is;

#[cfg(feature = "mutants")]
mod catalogue {
    use core::{
        fmt,
        sync::atomic::{AtomicU8, Ordering},
    };

    /// The mutant that is on, counted from 1; 0 while none is on.
    static ACTIVE: AtomicU8 = AtomicU8::new(0);

    /// Turns one mutant on for every machine in this process, or turns all of them off.
    pub fn switch(mutant: Option<Mutant>) {
        ACTIVE.store(mutant.map_or(0, number), Ordering::Relaxed);
    }

    /// The mutant that is on, if one is.
    #[must_use]
    pub fn active() -> Option<Mutant> {
        let active = ACTIVE.load(Ordering::Relaxed);
        Mutant::ALL.iter().copied().find(|mutant| number(*mutant) == active)
    }

    pub(crate) fn is(mutant: Mutant) -> bool {
        ACTIVE.load(Ordering::Relaxed) == number(mutant)
    }

    const fn number(mutant: Mutant) -> u8 {
        mutant as u8 + 1
    }

    macro_rules! mutants {
        ($($name:ident($text:literal) = $sentence:literal,)*) => {
            /// A fault put into the protocol on purpose.
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
            #[repr(u8)]
            pub enum Mutant {
                $(#[doc = $sentence] $name,)*
            }

            impl Mutant {
                /// All mutants, in the reading order of the crate.
                pub const ALL: &'static [Mutant] = &[$(Mutant::$name,)*];

                /// The mutant's name on a command line.
                #[must_use]
                pub fn name(self) -> &'static str {
                    match self { $(Mutant::$name => $text,)* }
                }

                /// What is broken, in one sentence.
                #[must_use]
                pub fn sentence(self) -> &'static str {
                    match self { $(Mutant::$name => $sentence,)* }
                }

                /// The mutant with this name.
                #[must_use]
                pub fn named(name: &str) -> Option<Mutant> {
                    Mutant::ALL.iter().copied().find(|mutant| mutant.name() == name)
                }
            }
        };
    }

    impl fmt::Display for Mutant {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.pad(self.name())
        }
    }

    // By machine, in the reading order of the crate.
    mutants! {
        // Ids, money and clock.
        IncarnationNotRaised("incarnation-not-raised") =
            "a restarted peer keeps the incarnation of its former life",
        CommissionRoundedTwice("commission-rounded-twice") =
            "commission and earnings are each rounded down, and no check notices that they do not add up",
        CommissionRoundedUp("commission-rounded-up") =
            "the commission is rounded up instead of down, and the seller gets the rest, so that the two still add up",
        ReceiveWithoutPlusOne("receive-without-plus-one") =
            "a receive takes the larger of the two clocks without adding one",
        ReceiveIgnoresSender("receive-ignores-sender") =
            "a receive adds one to the receiver's clock, whatever the sender's was",
        ClockResumesAtZero("clock-resumes-at-zero") =
            "a restarted clock begins at 0 instead of the durable bound",
        ClockResetOnStepDown("clock-reset-on-step-down") =
            "a peer that leaves the office, or fails to get it, sets its clock back to 0",
        NoCatchUp("no-catch-up") =
            "a claimant does not raise its clock to the largest stamp in the books it takes over",

        // Books and trader.
        RequestCountedTwice("request-counted-twice") =
            "a request is admitted whatever its buyer has open and whatever came last, so a repeated one counts twice",
        RequestPredecessorUnchecked("request-predecessor-unchecked") =
            "a request is admitted although its buyer does not know the last outcome, as long as its number is higher",
        DepositCountedTwice("deposit-counted-twice") =
            "a deposit is booked whatever stock its seller has and whatever came last, so a repeated one counts twice",
        DepositPredecessorUnchecked("deposit-predecessor-unchecked") =
            "a deposit is booked although its seller does not know the last one, as long as its number is higher",
        QueueForgotten("queue-forgotten") =
            "the queue is forgotten when another term begins",
        StockUnchecked("stock-unchecked") =
            "goods are sold from a deposit that does not have enough left",
        SaleLeavesStock("sale-leaves-stock") =
            "a sale takes nothing from the stock",
        SellerClockStays("seller-clock-stays") =
            "a sale does not raise its seller's clock",
        LargestStampFirst("largest-stamp-first") =
            "the request with the largest stamp is served first",
        TiesByHighestPeer("ties-by-highest-peer") =
            "of requests with equal clocks, the one from the highest buyer is served first",
        SellerById("seller-by-id") =
            "the smallest id among those who can fill a request sells, whatever their clocks",
        AsksOneSellerOnly("asks-one-seller-only") =
            "a request is refused when the seller with the smallest clock has too little, although another has enough",
        LeftoverNotNamed("leftover-not-named") =
            "a refusal does not say which deposit has too little left, so its seller never learns of it",
        LeftoverSoldTwice("leftover-sold-twice") =
            "what is left of a deposit stays for sale although its seller has taken it back",
        SellsToItself("sells-to-itself") =
            "a buyer's request may be filled from its own stock",
        TraderTrades("trader-trades") =
            "the trader sells its own stock, and takes its own requests and deposits",
        OutcomesBeforeAdmissions("outcomes-before-admissions") =
            "a batch serves the queue first, and only then what it admits",
        AdmitsBeforeInherited("admits-before-inherited") =
            "a new trader admits requests before it has served those it inherited",
        BatchLimitIgnored("batch-limit-ignored") =
            "a trader plans as many records into one batch as there are, whatever the limit",
        ResignationForgotten("resignation-forgotten") =
            "a trader keeps selling after the last sale of its term and does not resign",
        ResignsInOwnAppend("resigns-in-own-append") =
            "a trader resigns one batch after its last sale",
        ServesAfterResigning("serves-after-resigning") =
            "a trader that has resigned continues, and the ledger and the books accept what it writes",
        ToldOnArrival("told-on-arrival") =
            "a buyer is told that its request is open as soon as it arrives",
        ToldWhatIsKept("told-what-is-kept") =
            "a seller is told only of those sales of a batch that the books keep for it",
        ToldWhenPlanned("told-when-planned") =
            "clients are told of a batch when it is sent to the ledger, not when it is appended",

        // The stable order.
        PromiseWithoutRequest("promise-without-request") =
            "a buyer promises without saying what it has asked for and does not know to be admitted",
        SeatsForgotten("seats-forgotten") =
            "a new trader waits for those buyers only that have promised it something",
        UnseatingNotWritten("unseating-not-written") =
            "a trader stops waiting for a buyer that it does not hear, and writes nothing of it",
        ServedAtThePromise("served-at-the-promise") =
            "a request is served as soon as all others are heard up to the tick before its place",
        SeatBelowFloor("seat-below-floor") =
            "a buyer is seated although something later than its promise has been served",
        OldPromiseSeats("old-promise-seats") =
            "a buyer that lost its seat is seated again by what it promised before",
        OldJoinSeats("old-join-seats") =
            "a buyer that lost its seat is given it back because of an old copy of what it said to get it",
        FirstIsLate("first-is-late") =
            "the first request of a life is admitted although its place was passed",
        JoinUnanswered("join-unanswered") = "a buyer that lost its seat and asks for it back gets no answer",
        NewLifeOnOldSeat("new-life-on-old-seat") =
            "a promise of a buyer's new life counts for the seat of its former one",
        OwnRequestKept("own-request-kept") =
            "a buyer that was in office goes on asking for what it asked for before",
        LateWithItsOwnStamp("late-with-its-own-stamp") =
            "a request that comes late is placed at its own stamp",
        PlaceRecedes("place-recedes") =
            "a request that comes late is placed at the trader's clock, which is later in each plan",
        WaitsForTheDead("waits-for-the-dead") =
            "a buyer that is never heard again keeps its seat",
        WaitsForItself("waits-for-itself") =
            "a trader with a seat as a buyer waits for itself",
        InheritedBarrierKept("inherited-barrier-kept") =
            "a trader in the stable order admits nothing while its term has a count of inherited requests",
        MulticastNotMerged("multicast-not-merged") =
            "a participant that hears a clock multicast does not merge it",
        ReplyWithoutStamp("reply-without-stamp") =
            "a peer does not merge the largest stamp of the log when the ledger shows it",

        RecordsOutOfPlace("records-out-of-place") =
            "a reader folds records from the log wherever they begin",
        FirstChunkOnly("first-chunk-only") =
            "the first chunk of a snapshot is taken for all of it",
        ChunksMixed("chunks-mixed") =
            "chunks of two snapshots are combined",

        // Ledger.
        NoFence("no-fence") =
            "the ledger adds whatever a trader appends to its end, checking neither epoch nor position",
        PositionUnchecked("position-unchecked") =
            "the ledger adds what the holder appends to its end, whatever its position",
        ResentBatchUnknown("resent-batch-unknown") =
            "the ledger does not recognise the batch that it appended last",
        ClaimNotDurable("claim-not-durable") =
            "a claim is answered when it is written, not when it is durable",
        AcknowledgedBeforeDurable("acknowledged-before-durable") =
            "every append is answered when it is written, not when it is durable",
        UnsyncedReads("unsynced-reads") =
            "reads are answered from what is written, not from what is durable",
        AppendsDoNotWait("appends-do-not-wait") =
            "an append is judged while another is being written, as though there were none",
        WaitsWithoutBound("waits-without-bound") =
            "any number of calls may wait in the ledger",
        ConflictBeforeFenced("conflict-before-fenced") =
            "the ledger checks the position before the epoch",
        LeaseBeforeConflict("lease-before-conflict") =
            "a claim at the wrong position is answered LeaseActive while the term is active",
        AnsweredAsAnother("answered-as-another") =
            "the ledger's answer identifies an append by the position at which the log ends by then",
        LeaseIgnored("lease-ignored") =
            "a claim is granted while the previous term is being renewed",
        LeaseNeverEnds("lease-never-ends") =
            "a term that is no longer renewed keeps every other peer out for ever",
        ContestedNeverTold("contested-never-told") =
            "a trader is never told that others have claimed its office in vain",

        // Office.
        ConflictIsSuccess("conflict-is-success") =
            "a claimant or trader takes Conflict for Appended",
        ClaimsUnread("claims-unread") =
            "a claimant that meets Conflict claims again at the head it was told of, without reading on",
        BatchMovedToHead("batch-moved-to-head") =
            "a trader that meets Conflict sends its batch again at the new head, and the ledger checks no epoch",
        SettledByPosition("settled-by-position") =
            "a reply settles whatever its peer has in flight at the same epoch and position",
        SettledByAnything("settled-by-anything") =
            "any reply settles the append in flight",
        FencedTraderStays("fenced-trader-stays") =
            "a trader that meets Fenced drops the batch and stays in office",
        ServesWhileClaiming("serves-while-claiming") =
            "a claimant takes office when it claims, not when its claim is appended",
        ClaimsAtHeardHead("claims-at-heard-head") =
            "a claim is placed at the latest head its claimant has heard of, not at the end of the books it has read",
        TermResumedAfterRestart("term-resumed-after-restart") =
            "a restarted peer that finds its own term open in the books resumes it, and the ledger lets it",
        HeartbeatWithoutRenewal("heartbeat-without-renewal") =
            "a trader sends heartbeats although no renewal has been confirmed since the last",
        ContestedAndIsolatedStays("contested-and-isolated-stays") =
            "a trader that hears no neighbour keeps renewing its term although others claim it",
        AsksNoMore("asks-no-more") =
            "a peer that leaves the office, or a claim, cut off does not ask the ledger until it answers",
        NeverGivesUp("never-gives-up") =
            "a claimant or trader waits for a silent ledger for ever",
        SilenceForgotten("silence-forgotten") =
            "a peer that has given up waiting for the ledger stays eligible",
        ResignedStaysEligible("resigned-stays-eligible") =
            "a peer that resigned a term is eligible for the next",
        GivesUpWhileAnswered("gives-up-while-answered") =
            "a claimant whose reading takes long gives up although the ledger answers",
        AppendNotRepeated("append-not-repeated") =
            "a trader whose append is not answered does not send it again",
        ReadsOnFromHead("reads-on-from-head") =
            "a claimant whose read was cut short continues from the head that it was told of",
        ResignedForGood("resigned-for-good") =
            "a peer that resigned a term is not eligible for any later one either",

        // Buyer and seller.
        SequenceReused("sequence-reused") =
            "a buyer numbers its requests from 1 again after a restart",
        DepositNumberReused("deposit-number-reused") =
            "a seller numbers its deposits from 1 again after a restart",
        NamesNoPredecessor("names-no-predecessor") =
            "a buyer names no predecessor with its requests",
        OutcomeCountedTwice("outcome-counted-twice") =
            "a buyer takes an outcome that it already knows for a new one",
        OldStatusBelieved("old-status-believed") =
            "a buyer believes what a late message says about its requests",
        SaleCountedTwice("sale-counted-twice") =
            "a seller counts again a sale that it was told of before",
        OldAccountBelieved("old-account-believed") =
            "a seller believes what a late message says about its account",
        FirstAccountAdopted("first-account-adopted") =
            "a seller in its first life adopts the first account that it is told of, as a later life does",
        OpenRequestIgnored("open-request-ignored") =
            "a buyer that is told that a request of its own is waiting makes another one anyway",
        SoldOutForGood("sold-out-for-good") =
            "a seller that is sold out makes no more deposits",
        LeftoverForGood("leftover-for-good") =
            "a seller whose deposit has too little left does not deposit again",
        GapAskedForEver("gap-asked-for-ever") =
            "a seller that has missed more sales than are kept asks for them again and again",
        MissedSaleNotAsked("missed-sale-not-asked") =
            "a seller that is told of a later sale first does not ask for the earlier one",

        // Election.
        IdsComparedAsText("ids-compared-as-text") =
            "an election compares ids as text, so that 9 is higher than 10",
        IdsComparedByLastDigit("ids-compared-by-last-digit") =
            "an election compares the last digits of ids, so that 9 is higher than 10",
        AnswerIgnored("answer-ignored") =
            "a candidate stands although a higher peer has answered",
        ResignedCompetes("resigned-competes") =
            "a peer that has just resigned calls and answers like any other",
        UnreachableCompetes("unreachable-competes") =
            "a peer that does not hear the ledger calls and answers like any other",
        UnreachableRunsOn("unreachable-runs-on") =
            "a peer that loses the ledger while it runs for office keeps running",
        OldCoordinatorAccepted("old-coordinator-accepted") =
            "a winner's or resigning trader's message from an epoch that is over counts",
        OldHeartbeatAccepted("old-heartbeat-accepted") =
            "a heartbeat from an epoch that is over counts",
        HigherEpochIgnored("higher-epoch-ignored") =
            "a leader does not yield when it hears of a higher epoch",
        BelievesInNoSuchEpoch("believes-in-no-such-epoch") =
            "a peer that was told of an epoch that does not exist follows no leader of a real one, whatever the ledger says",
        BelievesLiars("believes-liars") =
            "a peer that knows from the ledger that an epoch does not exist follows whoever names it again",
        OverGrantTaken("over-grant-taken") =
            "a peer that is granted an epoch that it knows to be over leads anyway, and forgets the later one",
        HearsayPassedOn("hearsay-passed-on") =
            "a peer that knows the leader only from others reports it as though it had heard the leader itself",
        StaleHearsayBelieved("stale-hearsay-believed") =
            "a peer that hears the leader itself forgets that when another peer names the same leader",
        ResignationUnheard("resignation-unheard") =
            "a peer that hears of a resignation learns nothing about the term",
        AnnouncesOnWinning("announces-on-winning") =
            "a peer that wins an election says that it is the coordinator before anything is granted",
        JoinsEveryElection("joins-every-election") =
            "a peer that hears the trader runs for office anyway when another calls",
        IsolatedForGood("isolated-for-good") =
            "a trader that left because it heard nobody never stands again, even if nobody else claims",
        LoneSurvivorWaits("lone-survivor-waits") =
            "a peer that has resigned never stands, even though nobody else is there",

        // Overlay and peer.
        FloodDeliveredAgain("flood-delivered-again") =
            "a flood is delivered again each time it arrives",
        RelayHears("relay-hears") =
            "a relay takes a flooded message for another peer as one for itself too",
        FloodNumbersRestart("flood-numbers-restart") =
            "the floods of a restarted peer bear the numbers of its first life",
        SendsPastItsNeighbours("sends-past-its-neighbours") =
            "a message for one peer goes straight to it, neighbour or not",
        RelayNotAround("relay-not-around") =
            "a message for one peer is dropped where the path is unknown or down",
        GapCountsAsTaken("gap-counts-as-taken") =
            "a flood that arrives after a later one of its origin counts as taken although it was not",
        WindowDropsNewest("window-drops-newest") =
            "a peer that has taken as many floods out of order as it may remember forgets the newest, not the oldest",
        PathOverwritten("path-overwritten") =
            "a message shows a path to its source even if a newer one has shown another",
        PathKept("path-kept") =
            "a path that is known is kept, whatever newer messages show",
        GoneForGood("gone-for-good") =
            "a neighbour whose link has gone down counts as gone even if it is heard",
        FloodsForTheGone("floods-for-the-gone") =
            "a message for a neighbour whose link is down is flooded",
        MulticastUnheard("multicast-unheard") =
            "a peer passes a clock multicast on but does not merge it",
        MulticastAboveBound("multicast-above-bound") =
            "a peer's clock multicast leaves before the clock is durable",
        LostClockNotToldAgain("lost-clock-not-told-again") =
            "a neighbour that was told of a clock multicast once is not told again, even if it does not show that it knows",
        QuestionUnanswered("question-unanswered") =
            "a neighbour that does not know whether its clock multicast has been heard gets no answer",
        RestartedNotTold("restarted-not-told") =
            "a neighbour whose link has come up again is told only of new clock multicasts",
        CopyNotCounted("copy-not-counted") =
            "a peer waits for the answer of a neighbour that answers to another",
        AnswersAtOnce("answers-at-once") =
            "a peer answers a wave before its neighbours have answered it",
        HopsNotCounted("hops-not-counted") =
            "a relay that forwards a message along its path does not count the hop",
        SentAboveBound("sent-above-bound") =
            "messages leave with a clock above what is durable",
        SpeaksBeforeWritten("speaks-before-written") =
            "a restarted peer speaks before its incarnation is durable",
        StampedByFirstRecord("stamped-by-first-record") =
            "an append leaves when the clock of its first record is durable, whatever that of its last is",
        HeldWithoutBound("held-without-bound") =
            "a peer holds back whatever must wait for its disk, however much that is",
        SeenNotWritten("seen-not-written") =
            "a peer records what it has seen of the books only when its clock makes it write anyway",
        SeenForgotten("seen-forgotten") =
            "a restarted peer forgets what its former life had seen of the books",
        SeenNotShown("seen-not-shown") =
            "a peer does not tell the ledger what it has seen of the books",
        BatchUnread("batch-unread") =
            "a ledger takes whatever a batch claims, though no reader of the books could go on from there",
        BelievesAnyMark("believes-any-mark") =
            "a ledger stops for the sake of records that no ledger has ever shown to anybody",
        OldImageServed("old-image-served") =
            "a ledger continues although its caller has seen more than it holds",

        // Several ledger processes over a replicated store.
        AnswersFromMemory("answers-from-memory") =
            "a ledger process answers questions and reads from what it knows, although others write, too",
        FenceFromMemory("fence-from-memory") =
            "a ledger process gives a verdict that needs no write by what it knows, although others write, too",
        LateCallJoinsLook("late-call-joins-look") =
            "a call is answered from what a look found that began before it",
        LateCallJoinsAppend("late-call-joins-append") =
            "a call is answered from where the log ended when an append was tried that began before it",
        UnknownIsRefused("unknown-is-refused") =
            "an append whose outcome is unknown is answered as though it had been refused",
        UnknownForgotten("unknown-forgotten") =
            "a ledger process forgets an append whose outcome is unknown, and goes on from what it knows",
        RenewalNotTold("renewal-not-told") =
            "a ledger process does not tell the others that a term was renewed",
        ContestedKeptElsewhere("contested-kept-elsewhere") =
            "a ledger process takes a term for contested although its holder was told so at another and has appended there",
        ContestedNotTold("contested-not-told") =
            "a ledger process does not tell the others that a term is contested",
        BlindLeaseRunsOut("blind-lease-runs-out") =
            "a ledger process that no longer sees what others renew lets the lease run out",
        DeclinedIsRefused("declined-is-refused") =
            "an append that a full store has declined is answered as though the store had refused it",
        BaseBeforeSnapshot("base-before-snapshot") =
            "the base of a replicated store is moved to a snapshot before that is written",
        ClearedBeforeBase("cleared-before-base") =
            "the records below a snapshot are removed from a replicated store before the base is moved to it",
        BaseNotCompared("base-not-compared") =
            "the base of a replicated store is moved wherever it is",
        GapInRead("gap-in-read") =
            "a read of records that have been removed from a replicated store is answered with those after them",
        QueueWithoutBound("queue-without-bound") =
            "as many calls wait in a ledger process as come, whatever it has room for",
        RunNotCompared("run-not-compared") =
            "a transaction does not ask whether the store still holds the run",
        EndNotCompared("end-not-compared") =
            "a transaction writes a batch wherever the log ends",
        ShrunkLogServed("shrunk-log-served") =
            "a ledger process goes on with a store that holds less than it has seen in it",
    }
}
