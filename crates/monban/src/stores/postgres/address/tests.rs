//! What a URL says, and what it may not say.

use super::*;

fn names(address: &Address) -> Vec<String> {
    address.hosts.iter().map(Host::to_string).collect()
}

#[test]
fn all_parts_are_read() {
    let all = Address::parse(
        "postgresql://m%40e:p%23%2B%26s+%2F%40@[::1]:7000/my%20data?sslmode=verify-full&ca=/a+b&cert=/c&key=/d&timeout=500ms",
    )
    .unwrap();
    assert_eq!(names(&all), ["[::1]:7000"]);
    assert_eq!((&*all.user, &*all.database), ("m@e", "my data"));
    assert_eq!(all.passwords.given.as_deref(), Some("p#+&s+/@"));
    assert_eq!(all.to_string(), "[::1]:7000/my data");
    assert_eq!(all.timeout, Duration::from_millis(500));
    let tls = all.tls.unwrap();
    assert_eq!(tls.authority.unwrap().to_str(), Some("/a+b"));
    assert!(tls.certificate.is_some() && tls.key.is_some());
    let least = Address::parse(" postgres://app@db.internal\n").unwrap();
    assert_eq!(least.to_string(), "db.internal:5432/app");
    assert!(least.tls.is_none() && least.passwords.given.is_none());
}

/// In each of the ways that libpq has to say it.
#[test]
fn a_socket_is_named_by_its_directory() {
    for url in [
        "postgres:///jobs?host=/run/postgresql&user=app",
        "postgres://app@/jobs?host=/run/postgresql",
        "postgres://app@%2Frun%2Fpostgresql/jobs",
        "postgres://app@localhost/jobs?host=%2Frun%2Fpostgresql",
        "postgres:///?host=/run/postgresql&port=5432&user=app&dbname=jobs&sslmode=disable",
    ] {
        let address = Address::parse(url).unwrap();
        let socket = address.hosts[0].socket().unwrap();
        assert_eq!(
            socket.to_str(),
            Some("/run/postgresql/.s.PGSQL.5432"),
            "{url}"
        );
        assert_eq!((&*address.user, &*address.database), ("app", "jobs"));
    }
    let other = Address::parse("postgres://app@:7000/?host=/run/postgresql").unwrap();
    let socket = other.hosts[0].socket().unwrap();
    assert_eq!(socket.to_str(), Some("/run/postgresql/.s.PGSQL.7000"));
    // As whom the process runs: so the server, which asks the system, lets it in.
    let nobody = Address::parse("postgres:///jobs?host=/run/postgresql").unwrap();
    assert_eq!(nobody.user, whoami::username().unwrap());
    assert!(
        Address::parse("postgres://app@host").unwrap().hosts[0]
            .socket()
            .is_none()
    );
}

#[test]
fn of_several_hosts_each_has_its_port() {
    for url in [
        "postgres://app@a:1,b,[::1]:3/jobs?target_session_attrs=read-write",
        "postgres://app@/jobs?host=a,b,::1&port=1,5432,3&target_session_attrs=primary",
    ] {
        let address = Address::parse(url).unwrap();
        assert_eq!(names(&address), ["a:1", "b:5432", "[::1]:3"]);
        assert_eq!(address.to_string(), "a:1,b:5432,[::1]:3/jobs");
        assert_eq!(address.name_of(&address.hosts[1]), "b:5432/jobs");
    }
    let one = Address::parse("postgres://app@/jobs?host=a,b&port=7").unwrap();
    assert_eq!(names(&one), ["a:7", "b:7"]);
}

#[test]
fn what_cannot_be_used_is_refused_by_name_and_never_quoted() {
    for (url, says) in [
        ("http://u:s3cret@h", "postgres://"),
        ("postgres", "postgres://"),
        ("postgres://h", "user"),
        ("postgres://:s3cret@h", "user"),
        ("postgres://u:s3cret@", "host=/run/postgresql"),
        ("postgres:///jobs", "host=/run/postgresql"),
        ("postgres://u:s3cret@h#x", "%23"),
        ("postgres://u:12?s3cret@h", "%3F"),
        ("postgres://u:s3/cret@h", "%2F"),
        ("postgres://u:s3cret@h,", "empty"),
        ("postgres://u:s3cret@h:0", "65535"),
        ("postgres://u:s3cret@[::1", "]"),
        ("postgres://u:s3cret@[::1]7", "65535"),
        (
            "postgres://u:s3cret@/d?host=a,b,c&port=1,2",
            "3 hosts and 2 ports",
        ),
        ("postgres://u:s3cret@h?nothing=1", "nothing"),
        ("postgres://u:s3cret@h?connect_timeout=10", "timeout=2s"),
        ("postgres://u:s3cret@h?options=-cx%3D1", "ALTER ROLE"),
        ("postgres://u:s3cret@h?timeout=1h", "timeout"),
        ("postgres://u:s3cret@h?sslmode=prefer", "plain text"),
        ("postgres://u:s3cret@h?sslmode=allow", "plain text"),
        ("postgres://u:s3cret@h?sslmode=on", "verify-full"),
        ("postgres://u:s3cret@h?ca=/x", "sslmode"),
        ("postgres://u:s3cret@h?sslrootcert=system", "sslmode"),
        ("postgres://u:s3cret@h?sslmode=disable&ca=/x", "sslmode"),
        ("postgres://u:s3cret@h?sslmode=require&ca=", "ca="),
        ("postgres://u:s3cret@h?sslmode=require&cert=/x", "key="),
        ("postgres://u:s3cret@h?passfile=", "passfile="),
        ("postgres://u:s3cret@%2Frun?sslmode=require", "no TLS"),
        (
            "postgres://u:s3cret@h,i?target_session_attrs=any",
            "primary",
        ),
        (
            "postgres://u:s3cret@h,i?target_session_attrs=prefer-standby",
            "read-write",
        ),
    ] {
        let error = Address::parse(url).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{url}");
        let text = error.to_string();
        assert!(text.contains(says) && !text.contains("s3"), "{url}: {text}");
    }
}

#[test]
fn all_modes_that_encrypt_verify() {
    for mode in ["require", "verify-ca", "verify-full"] {
        let url = format!("postgres://u@h?sslmode={mode}&sslrootcert=system");
        let tls = Address::parse(&url).unwrap().tls.unwrap();
        assert!(tls.authority.is_none(), "those of the system");
    }
    let plain = Address::parse("postgres://u@h?sslmode=disable").unwrap();
    assert!(plain.tls.is_none());
}

#[test]
fn debug_output_has_no_password() {
    for url in [
        "postgres://user:s3cret@h",
        "postgres://user@h?password=s3cret",
    ] {
        let address = Address::parse(url).unwrap();
        assert_eq!(address.passwords.given.as_deref(), Some("s3cret"));
        assert!(!format!("{address:?} {address} {:?}", address.passwords).contains("s3cret"));
    }
}
