//! What is shown to people is what is there; and no name is too odd.

use super::{Stage, Verdict, ensure, lasting};
use crate::data::{Claimant, EntryId, Key, Mode, Standing};

pub async fn a_line_is_shown_in_order_with_who_and_how(stage: &Stage<'_>) -> Verdict {
    let [a, b, c] = stage.clients().await?;
    let key = stage.key("k");
    let (first, second, third) = (a.exclusive(&key), b.exclusive(&key), c.exclusive(&key));
    let start = stage.now();
    let fence = a.takes(&first).await?.fence;
    b.waits(&second).await?;
    c.waits(&third).await?;
    stage.pass(stage.unit() / 10).await;
    let line = b.line(&key).await?;
    let most = stage.now().since(start) + stage.slack();
    let least = stage.unit() / 10;
    ensure(
        line.len() == 3,
        format_args!("three claims are shown as {line:?}"),
    )?;
    let expected = [(&a, &first), (&b, &second), (&c, &third)];
    for (place, (entry, (client, claim))) in line.iter().zip(expected).enumerate() {
        let standing = match place {
            0 => Standing::Holding,
            ahead => Standing::Waiting { ahead },
        };
        let right = entry.id == EntryId::Claim(claim.id)
            && entry.mode == Some(Mode::Exclusive)
            && entry.standing == standing
            && entry.claimant.as_ref() == Some(client.claimant())
            && entry.seat.is_none()
            && entry.fence == fence.filter(|_| place == 0);
        ensure(right, format_args!("place {place} is shown as {entry:?}"))?;
        let aged = entry
            .age
            .is_none_or(|age| age + stage.slack() >= least && age <= most);
        ensure(
            aged,
            format_args!("its age is not {least:?} to {most:?}: {entry:?}"),
        )?;
        let live = entry.expires_in.is_some() == stage.has_ttl();
        ensure(
            live,
            format_args!("when it expires is not right: {entry:?}"),
        )?;
    }
    for (client, claim) in expected {
        client.leaves(claim).await?;
    }
    if !stage.has_ttl() {
        return Ok(());
    }
    let silent = lasting(a.exclusive(&key), stage.unit());
    a.takes(&silent).await?;
    stage.outlive(silent.ttl).await;
    let line = b.line(&key).await?;
    ensure(
        line.is_empty(),
        format_args!("what has expired is shown: {line:?}"),
    )
}

/// `*`, `?`, `[` and `\` are letters like others, and so are bytes that are no text.
pub async fn a_prefix_selects_by_its_bytes(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let names = [
        "p*", "p*a", "pa", "p?", "p[a]", "p\\", "p\\*", "p%", "p%2A", "P*", "q*",
    ];
    let keys = names.map(|name| stage.key(name));
    let claims = keys.each_ref().map(|key| a.exclusive(key));
    for claim in &claims {
        a.takes(claim).await?;
    }
    for prefix in [
        "", "p", "p*", "p?", "p[", "p[a", "p\\", "p%", "p%2", "P", "pa", "r",
    ] {
        let prefix = stage.key(prefix);
        let mut shown: Vec<Key> = b
            .inspect(prefix.as_bytes())
            .await?
            .into_iter()
            .map(|e| e.key)
            .collect();
        let mut right: Vec<Key> = keys.to_vec();
        right.retain(|key| key.as_bytes().starts_with(prefix.as_bytes()));
        shown.sort();
        right.sort();
        ensure(
            shown == right,
            format_args!("the prefix {prefix} shows {shown:?}, not {right:?}"),
        )?;
    }
    let all = b.inspect(b"").await?;
    for key in &keys {
        let shown = all.iter().any(|entry| entry.key == *key);
        ensure(shown, format_args!("{key} is not among all that are shown"))?;
        let line = b.line(key).await?;
        let alone = line.len() == 1 && line[0].key == *key;
        ensure(alone, format_args!("of {key} alone is shown {line:?}"))?;
    }
    for claim in &claims {
        a.leaves(claim).await?;
    }
    Ok(())
}

pub async fn odd_keys_are_locked_and_shown_as_they_are(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let starts: &[&[u8]] = &[
        b".",
        b"..",
        b"../../x",
        b"/",
        b"//",
        b"-",
        b"--",
        b"~",
        b" ",
        b"\t",
        b"\n",
        b"\r\n",
        b"\0",
        b"'",
        b"\"",
        b"`",
        b"\\",
        b"$(x)",
        b"{",
        b"}",
        b"{}",
        b"a}b{c",
        b"{}z",
        b"a{b}c",
        b"%",
        b"%2e",
        b"%00",
        b"*",
        b"?",
        b"[a-z]",
        b";",
        b"'; DROP TABLE x; --",
        b"']]--",
        b":",
        b"::",
        b"=",
        b"@+",
        b"\xff\xfe",
        b"\xc3\x28",
        b"\xed\xa0\x80",
        "\u{e9}\u{1f512}".as_bytes(),
        "e\u{301}".as_bytes(),
        "\u{202e}".as_bytes(),
        b"\x1b[2J",
        b"CON",
        b"nul",
        b".lock",
        b".monban",
        b"monban:",
    ];
    let mut keys: Vec<_> = starts.iter().map(|start| stage.key_from(start)).collect();
    for length in [
        100, 170, 179, 180, 181, 182, 200, 255, 256, 257, 1_000, 1_006,
    ] {
        keys.push(stage.key_from(&vec![b'x'; length]));
        keys.push(stage.key_from(&vec![b'/'; length]));
    }
    for key in &keys {
        let (holder, waiter) = (a.exclusive(key), b.exclusive(key));
        a.takes(&holder).await?;
        b.waits(&waiter).await?;
        let line = b.line(key).await?;
        ensure(line.len() == 2, format_args!("{key} is shown as {line:?}"))?;
        a.leaves(&holder).await?;
        b.gets(&waiter).await?;
        b.keeps(&waiter).await?;
        b.leaves(&waiter).await?;
        let line = b.line(key).await?;
        ensure(line.is_empty(), format_args!("left on {key}: {line:?}"))?;
    }
    Ok(())
}

/// Case, length and every byte count (B64, B65).
pub async fn keys_that_look_alike_are_different(stage: &Stage<'_>) -> Verdict {
    let a = stage.client().await?;
    let long = "x".repeat(900);
    let names: &[&[u8]] = &[
        b"k",
        b"K",
        b"k ",
        b" k",
        b"k\0",
        b"k\n",
        b"k/",
        b"k.",
        b"k%20",
        b"k+",
        b"k%2B",
        b"%6B",
        "\u{e9}".as_bytes(),
        "e\u{301}".as_bytes(),
        "\u{c9}".as_bytes(),
        b"\xe9",
        b"\xff",
        b"\xfe",
        "\u{fffd}".as_bytes(),
        b"kk",
        b"k-",
        b"k:k",
        b"k%3Ak",
    ];
    let mut keys: Vec<_> = names.iter().map(|name| stage.key_from(name)).collect();
    keys.extend(["a", "b", "A"].map(|end| stage.key(&format!("{long}{end}"))));
    keys.extend([150, 151, 250, 251].map(|n| stage.key(&long[..n])));
    let claims: Vec<_> = keys.iter().map(|key| a.exclusive(key)).collect();
    for claim in &claims {
        a.takes(claim).await?;
    }
    for claim in &claims {
        let line = a.line(&claim.key).await?;
        let alone = line.len() == 1 && line[0].id == EntryId::Claim(claim.id);
        ensure(alone, format_args!("{} is shown as {line:?}", claim.key))?;
        a.leaves(claim).await?;
    }
    Ok(())
}

/// B08, and the rule that no key is another one's counter, line or lock.
pub async fn neighbours_of_a_key_are_not_touched(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    let key = stage.key("x");
    let ends = [
        ":fence",
        ":line",
        ":order",
        ":expiry",
        ":o",
        ":e",
        ":f",
        ".lock",
        ".lock.lock",
        "/x",
        "/",
        ".claims",
        ".wait",
        ".fence",
        ".tmp",
        "-",
        "\0",
        ":0",
        ":1",
        "}",
        "}:order",
    ];
    let around: Vec<_> = ends
        .iter()
        .map(|end| stage.key(&format!("x{end}")))
        .collect();
    let (holder, waiter) = (a.exclusive(&key), b.exclusive(&key));
    a.takes(&holder).await?;
    b.waits(&waiter).await?;
    for near in &around {
        let (first, second) = (b.exclusive(near), a.exclusive(near));
        b.takes(&first).await?;
        a.waits(&second).await?;
        b.leaves(&first).await?;
        a.gets(&second).await?;
        a.leaves(&second).await?;
    }
    a.keeps(&holder).await?;
    let line = a.line(&key).await?;
    ensure(
        line.len() == 2,
        format_args!("beside its neighbours {key} is {line:?}"),
    )?;
    a.leaves(&holder).await?;
    b.gets(&waiter).await?;
    b.leaves(&waiter).await
}

pub async fn odd_claimants_come_back_as_they_were(stage: &Stage<'_>) -> Verdict {
    let odd = [
        Claimant::new("", 0, ""),
        Claimant::new("h:o/s t", u32::MAX, "a=b c:d/e%20\0\n"),
        Claimant::new("\u{e9}\u{1b}[2J", 1, "']]-- {} \u{202e}\"'`$(x)"),
        Claimant::new(&"h".repeat(255), 7, &"\u{e9}".repeat(127)),
    ];
    let witness = stage.client().await?;
    for (n, who) in odd.into_iter().enumerate() {
        let client = stage.client_as(who.clone()).await?;
        let key = stage.key(&format!("k{n}"));
        let (holder, waiter) = (client.exclusive(&key), client.exclusive(&key));
        client.takes(&holder).await?;
        client.waits(&waiter).await?;
        for entry in witness.line(&key).await? {
            let same = entry.claimant.as_ref() == Some(&who);
            ensure(same, format_args!("{who:?} is shown as {entry:?}"))?;
        }
        let busy = witness
            .waits(&super::or_leave(witness.exclusive(&key)))
            .await?;
        let same = busy.who.as_ref().is_none_or(|shown| *shown == who);
        ensure(same, format_args!("{who:?} is named in {busy:?}"))?;
        client.leaves(&waiter).await?;
        client.leaves(&holder).await?;
    }
    Ok(())
}

/// Nothing is kept for keys that were only used once; the subject looks for what cannot be seen from here.
pub async fn many_keys_leave_nothing_behind(stage: &Stage<'_>) -> Verdict {
    let [a, b] = stage.clients().await?;
    for n in 0..300 {
        let key = stage.key(&format!("k{n}"));
        let (holder, waiter) = (a.exclusive(&key), b.exclusive(&key));
        a.takes(&holder).await?;
        b.waits(&waiter).await?;
        if n % 2 == 0 {
            a.leaves(&holder).await?;
            b.gets(&waiter).await?;
            b.leaves(&waiter).await?;
        } else {
            b.leaves(&waiter).await?;
            a.leaves(&holder).await?;
        }
    }
    let left = a.inspect(stage.prefix()).await?;
    ensure(left.is_empty(), format_args!("left behind: {left:?}"))
}
