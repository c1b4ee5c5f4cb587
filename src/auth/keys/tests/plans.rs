//! Plans on their own: random histories of ticks and commands, applied to a plain list.

use proptest::prelude::*;

use super::super::plan::{due, retirement, rotation, scheduled};
use super::*;

#[derive(Clone, Debug)]
enum Op {
    Wait(u64),
    Tick,
    Rotate { force: bool },
    Retire { which: prop::sample::Index, compromised: bool },
    Configure(usize),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        3 => (0_u64..9_000_000).prop_map(Op::Wait),
        3 => (0_u64..600).prop_map(Op::Wait),
        4 => Just(Op::Tick),
        3 => any::<bool>().prop_map(|force| Op::Rotate { force }),
        2 => (any::<prop::sample::Index>(), any::<bool>())
            .prop_map(|(which, compromised)| Op::Retire { which, compromised }),
        1 => (0_usize..4).prop_map(Op::Configure),
    ]
}

/// A list of keys and the time, without any cryptography.
struct Model {
    keys: Vec<SealedKey>,
    now: Timestamp,
    policy: Policy,
    made: u32,
}

impl Model {
    fn carry_out(&mut self, plan: Plan) {
        for (id, state) in plan.moves {
            let key = self.keys.iter_mut().find(|key| key.id == id).unwrap();
            assert!(key.state < state, "{:?} moved back to {state:?}", key.state);
            (key.state, key.changed_at) = (state, self.now);
        }
        for state in plan.fresh {
            self.made += 1;
            self.keys.push(SealedKey {
                id: KeyId(format!("k{}", self.made)),
                algorithm: self.policy.algorithm,
                state,
                public_jwk: String::new(),
                sealed: Vec::new(),
                created_at: self.now,
                changed_at: self.now,
            });
        }
    }

    fn tick(&mut self) {
        for _ in 0..STEPS {
            let Some(step) = due(&self.keys, self.now, &self.policy) else { return };
            let next = self.only(KeyState::Next).cloned();
            self.carry_out(scheduled(step, &self.keys, self.now, &self.policy));
            if step == Step::Rotate {
                assert!(next.unwrap().changed_at.plus(self.policy.jwks_max_age) <= self.now);
            }
        }
        panic!("the clock is never satisfied");
    }

    fn only(&self, state: KeyState) -> Option<&SealedKey> {
        let mut keys = self.keys.iter().filter(|key| key.state == state);
        let key = keys.next();
        assert_eq!(keys.next(), None, "two keys are {state:?}");
        key
    }
}

proptest! {
    #[test]
    fn whatever_happens_one_key_signs_and_one_is_next(ops in prop::collection::vec(op(), 1..60)) {
        let mut model = Model { keys: Vec::new(), now: START, policy: policy(KeyAlgorithm::EdDSA), made: 0 };
        model.tick();
        for op in ops {
            match op {
                Op::Wait(seconds) => model.now = model.now.plus(Duration::from_secs(seconds)),
                Op::Tick => {
                    model.tick();
                    prop_assert_eq!(model.only(KeyState::Next).unwrap().algorithm, model.policy.algorithm);
                }
                Op::Rotate { force } => {
                    let next = model.only(KeyState::Next).unwrap().clone();
                    let known = next.changed_at.plus(model.policy.jwks_max_age) <= model.now;
                    let plan = rotation(&model.keys, model.now, &model.policy, force);
                    prop_assert_eq!(plan.is_ok(), force || known);
                    if let Ok(plan) = plan {
                        model.carry_out(plan);
                        prop_assert_eq!(&model.only(KeyState::Active).unwrap().id, &next.id);
                    }
                }
                Op::Retire { which, compromised } => {
                    let id = which.get(&model.keys).id.clone();
                    if let Ok(plan) = retirement(&model.keys, &id, compromised) {
                        prop_assert_eq!(plan.revoked.is_some(), compromised);
                        model.carry_out(plan);
                        let key = model.keys.iter().find(|key| key.id == id).unwrap();
                        prop_assert_eq!(key.state, KeyState::Retired);
                    }
                }
                Op::Configure(which) => model.policy.algorithm = ALL[which],
            }
            prop_assert!(model.only(KeyState::Active).is_some() && model.only(KeyState::Next).is_some());
        }
    }
}

#[test]
fn without_a_schedule_only_a_command_rotates() {
    let policy = Policy { rotate_every: Duration::ZERO, ..policy(KeyAlgorithm::EdDSA) };
    let mut model = Model { keys: Vec::new(), now: START, policy, made: 0 };
    model.tick();
    model.now = Timestamp::from_millis(i64::MAX / 2);
    assert_eq!(due(&model.keys, model.now, &policy), None);
}

#[test]
fn a_worn_key_signs_on_until_the_next_one_is_known() {
    let policy = Policy { rotate_every: Duration::from_secs(60), ..policy(KeyAlgorithm::EdDSA) };
    let mut model = Model { keys: Vec::new(), now: START, policy, made: 0 };
    model.tick();
    model.now = START.plus(Duration::from_secs(299));
    assert_eq!(due(&model.keys, model.now, &policy), None);
    model.now = START.plus(Duration::from_secs(300));
    assert_eq!(due(&model.keys, model.now, &policy), Some(Step::Rotate));
}
