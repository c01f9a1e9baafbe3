//! What is ready together travels together, and is answered one by one.

use super::{Stage, Verdict, ensure, or_leave};
use crate::contract::{Attempt, Release, Renewal};
use crate::data::{Claim, Error, Leave, Mode, Result};

fn leave(claim: &Claim) -> Leave {
    Leave {
        claim: claim.clone(),
        linger: None,
    }
}

fn granted(answer: &Result<Attempt>) -> bool {
    matches!(answer, Ok(Attempt::Granted(_)))
}

fn busy(answer: &Result<Attempt>) -> bool {
    matches!(answer, Ok(Attempt::Busy(_)))
}

pub async fn answers_come_in_the_order_of_the_batch(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let keys: Vec<_> = (0..10).map(|n| stage.key(&format!("k{n}"))).collect();
    let taken: Vec<_> = keys
        .iter()
        .skip(1)
        .step_by(3)
        .map(|key| a.exclusive(key))
        .collect();
    for answer in a.attempts(&taken).await? {
        ensure(
            granted(&answer),
            format_args!("a free key is answered {answer:?}"),
        )?;
    }
    let asked: Vec<_> = keys.iter().map(|key| b.exclusive(key)).collect();
    for (at, answer) in b.attempts(&asked).await?.iter().enumerate() {
        let right = if at % 3 == 1 {
            busy(answer)
        } else {
            granted(answer)
        };
        ensure(
            right,
            format_args!("element {at} of the batch is answered {answer:?}"),
        )?;
    }
    let never = b.exclusive(&keys[0]);
    let mixed = [&asked[0], &never, &asked[1], &asked[4], &asked[2]].map(Clone::clone);
    let expected = [
        Renewal::Kept,
        Renewal::Lost,
        Renewal::Lost, // it waits
        Renewal::Lost,
        Renewal::Kept,
    ];
    for (at, (answer, right)) in b
        .renewals(&mixed)
        .await?
        .into_iter()
        .zip(expected)
        .enumerate()
    {
        let answer = answer?;
        ensure(
            answer == right,
            format_args!("renewal {at} is answered {answer:?}"),
        )?;
    }
    let leaving = [&never, &asked[0], &asked[1], &asked[2]].map(leave);
    let expected = [Release::Gone, Release::Done, Release::Done, Release::Done];
    for (at, (answer, right)) in b
        .releases(&leaving)
        .await?
        .into_iter()
        .zip(expected)
        .enumerate()
    {
        let answer = answer?;
        ensure(
            answer == right,
            format_args!("release {at} is answered {answer:?}"),
        )?;
    }
    // Each by its own client: where a process's life is the claim's, nobody else can end it.
    let rest: Vec<_> = asked[3..].iter().map(leave).collect();
    let held: Vec<_> = taken.iter().map(leave).collect();
    let answers = b.releases(&rest).await?;
    for answer in answers.into_iter().chain(a.releases(&held).await?) {
        let answer = answer?;
        ensure(
            answer == Release::Done,
            format_args!("a release is answered {answer:?}"),
        )?;
    }
    Ok(())
}

pub async fn elements_of_a_batch_take_effect_in_order(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let key = stage.key("k");
    let (first, second) = (a.exclusive(&key), a.exclusive(&key));
    let tried = or_leave(a.exclusive(&key));
    let batch = [&first, &second, &tried, &first, &second].map(Clone::clone);
    let answers = a.attempts(&batch).await?;
    let right = granted(&answers[0])
        && busy(&answers[1])
        && busy(&answers[2])
        && granted(&answers[3])
        && busy(&answers[4]);
    ensure(
        right,
        format_args!("one key and one claim several times: {answers:?}"),
    )?;
    let fences = [&answers[0], &answers[3]].map(|answer| match answer {
        Ok(Attempt::Granted(grant)) => grant.fence,
        _ => None,
    });
    ensure(
        fences[0] == fences[1],
        format_args!("one claim in one batch: {answers:?}"),
    )?;
    let line = b.line(&key).await?;
    ensure(
        line.len() == 2,
        format_args!("two claims, and the line is {line:?}"),
    )?;
    let again = a.renewals(&[first.clone(), first.clone()]).await?;
    for answer in again {
        let answer = answer?;
        ensure(
            answer == Renewal::Kept,
            format_args!("renewed twice: {answer:?}"),
        )?;
    }
    let both = a
        .releases(&[leave(&first), leave(&first), leave(&second)])
        .await?;
    let told: Vec<_> = both.into_iter().collect::<Result<_>>()?;
    let right = told[0] == Release::Done && told[2] == Release::Done;
    ensure(right, format_args!("released in one batch: {told:?}"))?;
    let next = or_leave(b.exclusive(&key));
    b.takes(&next).await?;
    b.leaves(&next).await
}

pub async fn a_bad_element_spoils_no_other(stage: &Stage<'_>) -> Verdict {
    let a = stage.client().await?;
    let [one, other, bad] = ["one", "other", "bad"].map(|name| stage.key(name));
    let wrong = a.claim(&bad, Mode::Permits { n: 2, of: 1 });
    let batch = [a.exclusive(&one), wrong, a.exclusive(&other)];
    let answers = a.attempts(&batch).await?;
    let refused = match &answers[1] {
        Err(Error::Invalid { .. }) => true,
        Err(Error::Unsupported { .. }) => !stage.promises().permits,
        _ => false,
    };
    let right = granted(&answers[0]) && refused && granted(&answers[2]);
    ensure(
        right,
        format_args!("2 of 1 permits between good claims: {answers:?}"),
    )?;
    a.leaves(&batch[0]).await?;
    a.leaves(&batch[2]).await
}

pub async fn a_great_batch_is_answered_whole(stage: &Stage<'_>) -> Verdict {
    const MANY: usize = 500;
    let [a, b] = stage.clients().await?;
    let claims: Vec<_> = (0..MANY)
        .map(|n| a.exclusive(&stage.key(&format!("k{n}"))))
        .collect();
    for answer in a.attempts(&claims).await? {
        ensure(
            granted(&answer),
            format_args!("a free key is answered {answer:?}"),
        )?;
    }
    for answer in a.renewals(&claims).await? {
        let answer = answer?;
        ensure(
            answer == Renewal::Kept,
            format_args!("a live claim is {answer:?}"),
        )?;
    }
    let shown = b.inspect(stage.prefix()).await?.len();
    ensure(
        shown == MANY,
        format_args!("{shown} of {MANY} claims are shown"),
    )?;
    let leaving: Vec<_> = claims.iter().map(leave).collect();
    for answer in a.releases(&leaving).await? {
        let answer = answer?;
        ensure(
            answer == Release::Done,
            format_args!("a live claim is {answer:?}"),
        )?;
    }
    let left = b.inspect(stage.prefix()).await?;
    ensure(left.is_empty(), format_args!("left behind: {left:?}"))
}

pub async fn an_empty_batch_has_an_empty_answer(stage: &Stage<'_>) -> Verdict {
    let a = stage.client().await?;
    a.attempts(&[]).await?;
    a.renewals(&[]).await?;
    a.releases(&[]).await?;
    Ok(())
}
