//! What may change while the edge runs: routes, upstreams, limits, rates, CORS, trusted proxies, TLS. All of it is
//! one value, made whole and checked before anyone sees it, and put in place at once.
//!
//! A request takes one plan and keeps it to its end, so that what was checked is what is forwarded
//! whatever is put in place meanwhile. A connection keeps the limits that it began with. Each edge
//! thread lays a plan out for itself ([`LocalPlan`]); pools of servers that stay are taken along with
//! their connections.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use http::HeaderValue;
use ipnet::IpNet;
use parking_lot::Mutex;

use super::EdgeError;
use super::accept::Budget;
use super::authenticate::Vetted;
use super::cors::Cors;
use super::filter::Filters;
use super::filter::measures::Tallies;
use super::forwarding::Forwarding;
use super::guard::address::TrustedProxies;
use super::pages::Pages;
use super::protocols::Protocols;
use super::proxy::pool::Connections;
use super::rates::limiter::{Limiters, Ticks};
use super::rates::{Rates, RouteLimit};
use super::respond;
use super::route::Table;
use super::shape::Defaults;
use super::shape::headers::Rules;
use super::statics::beneath;
use super::tls::Terminator;
use super::upstream::local::Group;
use super::upstream::shared::{Registry, Shared};
use super::upstream::way::Secure;
use crate::config::cors::Cors as CorsConfig;
use crate::config::error_pages::ErrorPage;
use crate::config::filter::{Bans, Filter};
use crate::config::forwarding as config_forwarding;
use crate::config::headers::HeaderRules;
use crate::config::limits::Limits;
use crate::config::rates as config;
use crate::config::route::{Route, RouteTarget};
use crate::config::upstream::Upstream;

/// What a plan is made of.
#[derive(Debug)]
pub struct Settings {
    /// Budgets.
    pub limits: Limits,
    /// How fast anybody may ask; `keys` is read at the start only.
    pub rates: config::Rates,
    /// Whose pages may read the API's answers.
    pub cors: CorsConfig,
    /// Peers whose forwarding headers are believed.
    pub trusted_proxies: Vec<IpNet>,
    /// What applications are told of where a request came from.
    pub forwarding: config_forwarding::Forwarding,
    /// TLS.
    pub terminator: Terminator,
    /// `max-age` of `Strict-Transport-Security`; zero sends none.
    pub hsts: Duration,
    /// What is changed of requests to applications.
    pub request_headers: HeaderRules,
    /// What is changed of every answer.
    pub response_headers: HeaderRules,
    /// Requests that are not let in.
    pub filters: Vec<Filter>,
    /// What becomes of who keeps sending them.
    pub bans: Bans,
    /// Routes.
    pub routes: Vec<Route>,
    /// Pages for people.
    pub error_pages: Vec<ErrorPage>,
    /// The groups that routes name.
    pub upstreams: BTreeMap<String, Upstream>,
}

/// Everything about the edge that may change while it runs. Read-mostly: nothing in it is written for
/// a request.
#[derive(Debug)]
pub struct Plan {
    /// Apart, because a connection outlives plans and needs nothing else of them.
    pub limits: Arc<Limits>,
    /// Peers whose forwarding headers are believed.
    pub trusted: TrustedProxies,
    /// What applications are told of where a request came from.
    pub forwarding: Forwarding,
    /// `Strict-Transport-Security`
    pub hsts: Option<HeaderValue>,
    /// TLS of connections to come.
    pub terminator: Terminator,
    /// How fast anybody may ask.
    pub rates: Rates,
    /// Whose pages may read the API's answers, if anybody's.
    pub cors: Option<Cors>,
    /// Requests that are not let in, if any.
    pub filters: Option<Filters>,
    /// What is changed of answers to requests without a route.
    pub response_headers: Option<Arc<Rules>>,
    /// Routes; their targets are places in `upstreams`.
    pub routes: Table,
    /// Pages for people.
    pub pages: Pages,
    /// Apart from the rest, because names lead elsewhere without a new plan.
    upstreams: ArcSwap<Vec<Arc<Shared>>>,
    number: u64,
}

impl Plan {
    fn compile(
        settings: Settings,
        number: u64,
        (limiters, groups, tallies): (&Limiters, &Registry, &Tallies),
    ) -> Result<Self, EdgeError> {
        let Settings {
            limits,
            rates,
            cors,
            forwarding,
            trusted_proxies,
            terminator,
            hsts,
            request_headers,
            response_headers,
            filters,
            bans,
            routes,
            error_pages,
            upstreams,
        } = settings;
        if let Some((name, _)) =
            upstreams.iter().find(|(_, group)| group.servers.is_empty() && group.names.is_empty())
        {
            return Err(EdgeError::NoServers { name: name.clone() });
        }
        let serves_files = |route: &Route| matches!(route.target, RouteTarget::Folder(_));
        if routes.iter().any(serves_files) && !beneath::is_supported() {
            return Err(EdgeError::NoBeneath);
        }
        let group = |(name, config): (String, Upstream)| {
            let secure = config.tls.as_ref().map(|tls| Secure::of(tls, config.http2).map(Arc::new));
            let secure =
                secure.transpose().map_err(|source| EdgeError::Tls { name: name.clone(), source })?;
            Ok::<_, EdgeError>(groups.group(name, config, secure))
        };
        let upstreams = upstreams.into_iter().map(group).collect::<Result<Vec<Arc<Shared>>, _>>()?;
        let place = |name: &str| upstreams.iter().position(|group| group.name == name);
        let limit = |route: &Route, name: &str| RouteLimit::of(route, name, rates.ipv6_prefix, limiters);
        let all = Defaults { request: &request_headers, response: &response_headers };
        let routes = Table::compile(&routes, limits.body_bytes, place, limit, all)?;
        Ok(Self {
            limits: Arc::new(limits),
            trusted: TrustedProxies::new(trusted_proxies),
            hsts: respond::hsts(hsts),
            terminator,
            rates: Rates::new(&rates, limiters),
            cors: Cors::new(&cors),
            forwarding: Forwarding::new(&forwarding),
            filters: Filters::new(&filters, &bans, tallies),
            response_headers: Rules::new(&response_headers, &HeaderRules::default()).map(Arc::new),
            routes,
            pages: Pages::read(&error_pages)?,
            upstreams: ArcSwap::from_pointee(upstreams),
            number,
        })
    }

    /// The upstream groups, in the order of their names, with what their servers' names lead to.
    pub fn upstreams(&self) -> Arc<Vec<Arc<Shared>>> {
        self.upstreams.load_full()
    }

    /// Tells this plan from every other of the process.
    pub const fn number(&self) -> u64 {
        self.number
    }

    /// Whether this peer's forwarding headers are believed.
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.trusted.contains(address)
    }
}

/// A plan that was checked and waits to be put in place, which cannot fail any more.
#[derive(Debug)]
#[must_use = "a plan does nothing until it is put in place"]
pub struct Prepared(Plan);

/// The plan in force, and the budgets that follow it.
#[derive(Debug)]
pub struct Plans {
    current: ArcSwap<Plan>,
    made: AtomicU64,
    budget: Arc<Budget>,
    upstream_connections: Arc<Connections>,
    limiters: Arc<Limiters>,
    groups: Registry,
    tallies: Arc<Tallies>,
    /// Held by whoever changes which groups are in force.
    changing: Mutex<()>,
}

impl Plans {
    /// The first plan.
    pub fn start(settings: Settings, limiters: Arc<Limiters>, ticks: Ticks) -> Result<Self, EdgeError> {
        let (groups, tallies) = (Registry::new(ticks), Arc::new(Tallies::default()));
        let plan = Plan::compile(settings, 0, (&limiters, &groups, &tallies))?;
        let limits = &plan.limits;
        Ok(Self {
            budget: Budget::new(limits.connections, limits.connections_per_address),
            // One for each client connection; the descriptors were counted for two.
            upstream_connections: Connections::new(limits.connections),
            current: ArcSwap::from_pointee(plan),
            made: AtomicU64::new(1),
            limiters,
            groups,
            tallies,
            changing: Mutex::default(),
        })
    }

    /// Makes and checks a plan. Nothing changes yet.
    pub fn prepare(&self, settings: Settings) -> Result<Prepared, EdgeError> {
        let number = self.made.fetch_add(1, Ordering::Relaxed);
        Plan::compile(settings, number, (&self.limiters, &self.groups, &self.tallies)).map(Prepared)
    }

    /// Puts a plan in place: for every request that begins from now on, on every thread.
    pub fn put(&self, Prepared(plan): Prepared) {
        // What is open past a smaller budget stays; it only takes longer until somebody new comes in.
        self.budget.resize(plan.limits.connections, plan.limits.connections_per_address);
        self.upstream_connections.resize(plan.limits.connections);
        let plan = Arc::new(plan);
        let _changing = self.changing.lock();
        self.refresh(&plan);
        self.current.store(Arc::clone(&plan));
        self.groups.keep(&plan.upstreams());
    }

    /// Has the groups in force follow what their servers' names lead to.
    pub fn follow_names(&self) {
        let _changing = self.changing.lock();
        let plan = self.current();
        if self.refresh(&plan) {
            self.groups.keep(&plan.upstreams());
        }
    }

    /// Makes those of a plan's groups anew whose names lead elsewhere. Returns whether there were any.
    fn refresh(&self, plan: &Plan) -> bool {
        let groups = plan.upstreams();
        if !groups.iter().any(|group| self.groups.is_stale(group)) {
            return false;
        }
        let next = |group: &Arc<Shared>| match self.groups.is_stale(group) {
            true => self.groups.group(group.name.clone(), group.config.clone(), group.secure.clone()),
            false => Arc::clone(group),
        };
        plan.upstreams.store(Arc::new(groups.iter().map(next).collect()));
        true
    }

    /// The plan in force.
    pub fn current(&self) -> Arc<Plan> {
        self.current.load_full()
    }

    /// What rates remember of clients, which outlives plans.
    pub const fn limiters(&self) -> &Arc<Limiters> {
        &self.limiters
    }

    /// What filters have counted, which outlives plans.
    pub const fn tallies(&self) -> &Arc<Tallies> {
        &self.tallies
    }

    /// What outlives plans of the upstream groups.
    pub const fn groups(&self) -> &Registry {
        &self.groups
    }

    /// The connections that are open.
    pub const fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }
}

/// A plan as one edge thread has laid it out: with that thread's own pools.
#[derive(Debug)]
pub struct LocalPlan {
    /// What it follows.
    pub plan: Arc<Plan>,
    /// Its groups, as they were when it was laid out.
    upstreams: Arc<Vec<Arc<Shared>>>,
    /// The pools of each upstream group, in the plan's order.
    pub groups: Vec<Group>,
    /// What new connections speak.
    pub protocols: Protocols,
}

impl LocalPlan {
    /// The group that a request is sent to, of a route that leads to the one at this place. A canary
    /// without a server in service gets nobody.
    pub fn group(&self, vetted: &Vetted, at: usize) -> Option<&Group> {
        let canary = vetted.route().canary.as_ref();
        let canary = canary.and_then(|canary| self.groups.get(canary.group(&vetted.asker())?));
        canary.filter(|group| group.shared().is_in_service()).or_else(|| self.groups.get(at))
    }
}

/// One thread's way to the plan in force.
#[derive(Debug)]
pub struct Follow {
    plans: Arc<Plans>,
    worker: usize,
    local: RefCell<Rc<LocalPlan>>,
}

impl Follow {
    /// For the thread of this number.
    pub fn new(plans: Arc<Plans>, worker: usize) -> Self {
        let local = RefCell::new(Rc::new(lay_out(&plans, plans.current(), None, worker)));
        Self { plans, worker, local }
    }

    /// The plan in force, laid out. A few nanoseconds, but for the first time after a change.
    pub fn now(&self) -> Rc<LocalPlan> {
        let local = Rc::clone(&self.local.borrow());
        let current = self.plans.current.load();
        if Arc::ptr_eq(&current, &local.plan) && Arc::ptr_eq(&current.upstreams.load(), &local.upstreams) {
            return local;
        }
        let next = Rc::new(lay_out(&self.plans, Arc::clone(&current), Some(&local), self.worker));
        self.local.replace(Rc::clone(&next));
        next
    }
}

fn lay_out(plans: &Plans, plan: Arc<Plan>, before: Option<&LocalPlan>, worker: usize) -> LocalPlan {
    let known = |name: &str| {
        before.and_then(|local| {
            let at = local.upstreams.iter().position(|known| known.name == name)?;
            local.groups.get(at)
        })
    };
    let group =
        |shared: &Arc<Shared>| Group::new(shared, worker, &plans.upstream_connections, known(&shared.name));
    let upstreams = plan.upstreams();
    let groups = upstreams.iter().map(group).collect();
    let protocols = Protocols::new(&plan.limits);
    LocalPlan { plan, upstreams, groups, protocols }
}
