//! Known mistakes, to be planted one at a time: a simulation that finds none of them would prove nothing.
//!
//! Each stands at the one place in the code where somebody could make it, as `planted!(Name)`: the literal `false`
//! unless the feature `planted` is on. Only tests turn it on ([`COMPILED_IN`]).

/// Whether this build can make mistakes on demand. Programs that serve people refuse to be built with it.
pub const COMPILED_IN: bool = cfg!(feature = "planted");

/// Whether this mistake is being made.
#[cfg(feature = "planted")]
macro_rules! planted {
    ($mistake:ident) => {
        $crate::planted::is_planted($crate::planted::Mistake::$mistake)
    };
}

/// Whether this mistake is being made: never.
#[cfg(not(feature = "planted"))]
macro_rules! planted {
    ($mistake:ident) => {
        false
    };
}

#[cfg(feature = "planted")]
pub(crate) use on_demand::is_planted;
#[cfg(feature = "planted")]
pub use on_demand::{Mistake, Planted, plant};

#[cfg(feature = "planted")]
mod on_demand {
    use std::cell::Cell;

    thread_local! {
        /// A shard never leaves its thread, so the choice need not reach it by its configuration.
        static PLANTED: Cell<Option<Mistake>> = const { Cell::new(None) };
    }

    /// Makes every shard of this thread make this mistake, until the guard is dropped.
    pub fn plant(mistake: Mistake) -> Planted {
        Planted { before: PLANTED.replace(Some(mistake)) }
    }

    /// Keeps a mistake planted.
    #[must_use = "the mistake ends with its guard"]
    #[derive(Debug)]
    pub struct Planted {
        before: Option<Mistake>,
    }

    impl Drop for Planted {
        fn drop(&mut self) {
            PLANTED.set(self.before);
        }
    }

    pub(crate) fn is_planted(mistake: Mistake) -> bool {
        PLANTED.get() == Some(mistake)
    }

    macro_rules! mistakes {
        ($($(#[doc = $words:literal])+ $name:ident,)+) => {
            /// What somebody could do wrong.
            #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
            pub enum Mistake {
                $($(#[doc = $words])+ $name,)+
            }

            impl Mistake {
                /// All of them.
                pub const ALL: &[Mistake] = &[$(Mistake::$name,)+];

                /// What goes wrong, in a sentence.
                pub fn words(self) -> &'static str {
                    match self {
                        $(Mistake::$name => concat!($($words),+).trim_ascii(),)+
                    }
                }
            }
        };
    }

    mistakes! {
        /// Who waited for room in a lane is not woken when there is some.
        LostWake,
        /// The `queued` bit is missing: a user can enter the ready ring twice.
        NoQueuedBit,
        /// A 410 is believed whatever its time stamp says.
        StaleGoneBelieved,
        /// The cut-off is compared in whole minutes with `<=`: details go out for up to a minute too long.
        CutoffByMinutes,
        /// Details go out for a second too long.
        CutoffBySecond,
        /// Nobody looks at the finished bytes again before they leave.
        NoSecondLook,
        /// Of the ids that silenced a stream, one stays in the next request.
        BadIdKept,
        /// A busy mail server is called again at once.
        BackOffIgnored,
        /// The back end's cookie is not sent back.
        CookieForgotten,
        /// Requests of a cohort name no anchor.
        AnchorMissing,
        /// A member is subscribed with himself as the anchor.
        AnchorOfMember,
        /// As many calls go out after the mail server was busy as before.
        WindowKept,
        /// A stream that broke is reopened without looking for what was missed.
        NoCatchUp,
        /// A look into the folder tells what was told before.
        CatchUpTellsAgain,
        /// The badge follows events only; the folder's own count is passed over.
        BadgeFromEvents,
        /// What events say of how many mails are unread is believed, whatever the folder says.
        EventsCountRight,
        /// Each mail begins the quiet time anew: who gets mail all the time is told nothing.
        SettleRearmed,
        /// A row answers to the id of the one that had its place before.
        StaleGeneration,
        /// A push whose fate is unknown goes out again under another id.
        NewApnsId,
        /// A call whose connection broke keeps its place among those in flight.
        CallNotGivenBack,
        /// One call of those in flight is forgotten where room is looked for: one more goes out than may.
        CallForgotten,
        /// After a restart nobody remembers what was told.
        ToldForgotten,
        /// A notice that was composed before a stop goes out after it.
        StopIgnored,
        /// A device that registers takes the stop from the user's other devices, too.
        StopUndoneForAll,
        /// Newer mail covers the mails of a gap.
        FloorOverGap,
        /// A page that cannot be read is asked for in the same way again and again.
        PageGivenUp,
        /// A mail dated in the future covers all that comes until then.
        FutureBelieved,
        /// A push that may have been accepted is put back as if it had not been.
        AmbiguousTakenForSafe,
        /// What goes out is not written down first.
        NotPutDown,
        /// A mail that was read or deleted before it was told is told all the same.
        GoneIgnored,
        /// A badge that changes alone waits for an hour.
        BadgeLate,
        /// A device that registers again keeps the settings that it had.
        SettingsIgnored,
        /// The address of a VIP sender is compared letter by letter.
        VipByCase,
        /// Who gets another address keeps the account's name of before.
        AccountKept,
        /// One user's refused tokens hold back everybody's phones.
        BreakerForAll,
        /// Each notice has its own place on the screen, also one that tells of the same mail again.
        PlaceOfItsOwn,
        /// A push that is worded anew on its way takes another place on the screen.
        ResendMoves,
        /// A device whose token is gone stays, and is pushed to again.
        GoneKept,
        /// A device that its owner removes stays.
        RemovalIgnored,
        /// Pushes go to the token of whoever came first.
        TokenOfAnother,
        /// A notice of one mail tells of none.
        MailsMiscounted,
        /// A timer that has fired is set again for the same moment: no turn is the last.
        TimerSetAgain,
        /// An event counts for whoever holds its subscription, whatever its folder is.
        ForeignTold,
        /// A subscription that the server has given to another mailbox stays with whom it was given to before.
        ReusedIdKept,
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_mistake_is_made_as_long_as_its_guard_lives_and_no_other_is() {
            assert!(!planted!(LostWake));
            let guard = plant(Mistake::LostWake);
            assert!(planted!(LostWake) && !planted!(NewApnsId));
            drop(guard);
            assert!(Mistake::ALL.iter().all(|mistake| !is_planted(*mistake)));
        }
    }
}
