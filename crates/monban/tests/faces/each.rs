//! The faces, told apart by nothing but their names, each on the key [`KEY`].

use std::pin::Pin;
use std::time::Duration;

use monban::{
    Begun, Error, Leadership, Lease, LeaseSet, Locks, Options, Owner, Reentrant, Result, Turn,
};

/// The key that every face is after; `all_of` is also after those beside it.
pub(crate) const KEY: &str = "b";
pub(crate) const ALL: [&str; 3] = ["a", KEY, "c"];

pub(crate) type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Face {
    Mutex,
    Reader,
    Writer,
    Permits,
    AllOf,
    Once,
    Election,
    Owner,
}

pub(crate) const FACES: [Face; 8] = [
    Face::Mutex,
    Face::Reader,
    Face::Writer,
    Face::Permits,
    Face::AllOf,
    Face::Once,
    Face::Election,
    Face::Owner,
];

/// What a face has given.
pub(crate) trait Taken: Send {
    fn check(&self) -> Result<()>;
    fn lost(&self) -> Boxed<Error>;
    fn release(self: Box<Self>) -> Boxed<Result<()>>;
}

macro_rules! taken {
    ($($kind:ty, $release:ident;)*) => {
        $(impl Taken for $kind {
            fn check(&self) -> Result<()> {
                <$kind>::check(self)
            }

            fn lost(&self) -> Boxed<Error> {
                Box::pin(<$kind>::lost(self))
            }

            fn release(self: Box<Self>) -> Boxed<Result<()>> {
                Box::pin(async move { (*self).$release().await })
            }
        })*
    };
}

taken! {
    LeaseSet, release;
    Lease, release;
}

macro_rules! taken_as_a_lease {
    ($($kind:ty, $release:ident;)*) => {
        $(impl Taken for $kind {
            fn check(&self) -> Result<()> {
                Lease::check(self)
            }

            fn lost(&self) -> Boxed<Error> {
                Box::pin(Lease::lost(self))
            }

            fn release(self: Box<Self>) -> Boxed<Result<()>> {
                Box::pin(async move { (*self).$release().await })
            }
        })*
    };
}

taken_as_a_lease! {
    Leadership, resign;
    Turn, failed;
    Reentrant, release;
}

pub(crate) type Guard = Box<dyn Taken>;

const EVERY: Duration = Duration::from_secs(3_600);

impl Face {
    /// Waits for the key.
    pub(crate) fn take(self, locks: &Locks, options: Options) -> Boxed<Result<Guard>> {
        let locks = locks.clone();
        let rwlock = |locks: &Locks, options| locks.rwlock(KEY)?.with(options);
        Box::pin(async move {
            Ok(match self {
                Self::Mutex => Box::new(locks.mutex(KEY)?.with(options)?.lock().await?) as Guard,
                Self::Reader => Box::new(rwlock(&locks, options)?.read().await?),
                Self::Writer => Box::new(rwlock(&locks, options)?.write().await?),
                Self::Permits => {
                    let permits = locks.semaphore(KEY, 2)?.with(options)?;
                    Box::new(permits.take(2)?.await?)
                }
                Self::AllOf => Box::new(locks.all_of(ALL)?.with(&options)?.lock().await?),
                Self::Once => match locks.once(KEY)?.with(options).every(EVERY)?.next().await? {
                    Begun::Turn(turn) => Box::new(turn),
                    other => panic!("{other:?}"),
                },
                Self::Election => Box::new(locks.election(KEY)?.with(options)?.campaign().await?),
                Self::Owner => {
                    let (owner, mutex) = (Owner::new(), locks.mutex(KEY)?.with(options)?);
                    let _outer = owner.lock(&mutex).await?;
                    Box::new(owner.lock(&mutex).await?)
                }
            })
        })
    }

    /// Tries once; `None` if the key is not free.
    pub(crate) fn attempt(self, locks: &Locks) -> Boxed<Result<Option<Guard>>> {
        fn boxed<T: Taken + 'static>(taken: Option<T>) -> Option<Guard> {
            taken.map(|taken| Box::new(taken) as Guard)
        }
        let locks = locks.clone();
        Box::pin(async move {
            Ok(match self {
                Self::Mutex => boxed(locks.mutex(KEY)?.try_lock().await?),
                Self::Reader => boxed(locks.rwlock(KEY)?.try_read().await?),
                Self::Writer => boxed(locks.rwlock(KEY)?.try_write().await?),
                Self::Permits => boxed(locks.semaphore(KEY, 2)?.try_take(2).await?),
                Self::AllOf => boxed(locks.all_of(ALL)?.try_lock().await?),
                Self::Once => match locks.once(KEY)?.every(EVERY)?.begin().await? {
                    Begun::Turn(turn) => boxed(Some(turn)),
                    _ => None,
                },
                Self::Election => boxed(locks.election(KEY)?.try_lead().await?),
                Self::Owner => boxed(Owner::new().try_lock(&locks.mutex(KEY)?).await?),
            })
        })
    }
}
