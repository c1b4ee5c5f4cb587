//! The bare argon2 function at given parameters on as many threads as logins get: the reference for
//! logins per second. Prints hashes per second. `HASH_KIB`, `HASH_ITERATIONS`, `HASH_THREADS`,
//! `HASH_SECONDS`.

#![expect(
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a measurement prints its result and stops at whatever is wrong"
)]

use std::time::{Duration, Instant};

use argon2::{Algorithm, Argon2, Params, Version};

fn main() {
    let number = |name: &str, default: u32| {
        std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
    };
    let params = Params::new(number("HASH_KIB", 19 * 1024), number("HASH_ITERATIONS", 2), 1, None);
    let params = params.expect("parameters");
    let time = Duration::from_secs(u64::from(number("HASH_SECONDS", 3)));
    let workers: Vec<_> = (0..number("HASH_THREADS", 1))
        .map(|_| {
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
            std::thread::spawn(move || {
                let (mut out, mut count, start) = ([0_u8; 32], 0_u32, Instant::now());
                while start.elapsed() < time {
                    argon2
                        .hash_password_into(b"correct horse battery staple", b"sixteen byte salt", &mut out)
                        .expect("a hash");
                    count += 1;
                }
                f64::from(count) / start.elapsed().as_secs_f64()
            })
        })
        .collect();
    let total: f64 = workers.into_iter().map(|worker| worker.join().expect("no panic")).sum();
    println!("{total:.2}");
}
