//! The seam for mutants: places where a safety line can be taken out, to see that a check notices (DESIGN 6).
//!
//! A site reads `mutant!(Name => what the mutant does, what is right)`. In `bazaar-protocol` that *is* what is right, and
//! nothing of the mutant is compiled. `bazaar-protocol-mutants` is the same files with the feature `mutants`: there all
//! mutants are built in, and `switch` turns one of them on for the whole process. Several may share a site, as
//! `mutant!(A | B => this, C => that, what is right)`; `mutant!(A => extra)` is something that only the mutant does.
//!
//! A mutant is the fault that its sentence names and no more. Where two guards hide each other it takes out both.

#[cfg(not(feature = "mutants"))]
macro_rules! mutant {
    ($($name:ident)|+ => $extra:expr) => {{}};
    ($($name:ident)|+ => $mutated:expr, $($original:tt)+) => { mutant!($($original)+) };
    ($original:expr) => { $original };
}

#[cfg(feature = "mutants")]
macro_rules! mutant {
    ($($name:ident)|+ => $extra:expr) => {
        if $($crate::mutant::is($crate::mutant::Mutant::$name))||+ { $extra }
    };
    ($($name:ident)|+ => $mutated:expr, $($original:tt)+) => {
        if $($crate::mutant::is($crate::mutant::Mutant::$name))||+ { $mutated } else { mutant!($($original)+) }
    };
    ($original:expr) => { $original };
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

    /// The mutant that is on, counted from 1; 0 while none is.
    static ACTIVE: AtomicU8 = AtomicU8::new(0);

    /// Turns one mutant on, for every machine in this process, or none.
    pub fn switch(mutant: Option<Mutant>) {
        ACTIVE.store(mutant.map_or(0, number), Ordering::Relaxed);
    }

    /// The mutant that is on.
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
            /// A fault in the protocol, put in on purpose.
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
            #[repr(u8)]
            pub enum Mutant {
                $(#[doc = $sentence] $name,)*
            }

            impl Mutant {
                /// All there are.
                pub const ALL: &'static [Mutant] = &[$(Mutant::$name,)*];

                /// Its name on a command line.
                #[must_use]
                pub fn name(self) -> &'static str {
                    match self { $(Mutant::$name => $text,)* }
                }

                /// What is broken, in one sentence.
                #[must_use]
                pub fn sentence(self) -> &'static str {
                    match self { $(Mutant::$name => $sentence,)* }
                }

                /// The mutant of this name.
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
        // Clock.
        ReceiveWithoutPlusOne("receive-without-plus-one") = "a receive takes the larger of both clocks, without one more",
        ReceiveIgnoresSender("receive-ignores-sender") = "a receive is one more on the own clock, whatever the sender's",
        ClockResumesAtZero("clock-resumes-at-zero") = "a restarted clock begins again at 0, not at the durable bound",
    }
}
