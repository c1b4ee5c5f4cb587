//! What the operating system says of this process, under the names that every Prometheus client uses
//! (`process_…`, without a prefix of ours). Read from `/proc` when somebody scrapes.

use std::fmt;
use std::fs;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::counter::ConstCounter;

use super::encode::{gauge, whole};
use crate::model::time::Timestamp;

/// Reads `/proc/self`.
#[derive(Debug)]
pub struct Process {
    /// When it started.
    pub started_at: Timestamp,
}

impl Collector for Process {
    fn encode(&self, mut to: DescriptorEncoder<'_>) -> fmt::Result {
        let to = &mut to;
        let started = std::time::Duration::from_millis(self.started_at.as_millis().unsigned_abs());
        gauge(to, "process_start_time_seconds", "When it started, since 1970", started.as_secs_f64())?;
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        if let Some(kib) = field(&status, "VmRSS:") {
            whole(to, "process_resident_memory_bytes", "Resident memory", kib * 1024)?;
        }
        if let Some(threads) = field(&status, "Threads:") {
            whole(to, "process_threads", "Threads", threads)?;
        }
        if let Some(seconds) = processor_seconds() {
            let counter = ConstCounter::new(seconds);
            let help = "Processor time, user and system";
            let metric = to.encode_descriptor("process_cpu_seconds", help, None, counter.metric_type())?;
            counter.encode(metric)?;
        }
        if let Ok(open) = fs::read_dir("/proc/self/fd") {
            whole(to, "process_open_fds", "File descriptors in use", open.count() as u64)?;
        }
        match rustix::process::getrlimit(rustix::process::Resource::Nofile).current {
            Some(limit) => whole(to, "process_max_fds", "File descriptors that may be used", limit),
            None => Ok(()),
        }
    }
}

fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// From the scheduler's accounting of every thread, nanoseconds.
fn processor_seconds() -> Option<f64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name, in brackets, may hold anything; what follows the last bracket does not.
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut fields = rest.split(' ').skip(11);
    let (user, system): (u32, u32) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let ticks = u32::try_from(rustix::param::clock_ticks_per_second()).ok()?;
    Some(f64::from(user + system) / f64::from(ticks))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_what_the_kernel_says_of_this_process() {
        let mut registry = prometheus_client::registry::Registry::default();
        registry.register_collector(Box::new(Process { started_at: Timestamp::from_millis(1_500) }));
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
        assert!(text.contains("process_start_time_seconds 1.5"), "{text}");
        for name in ["resident_memory_bytes", "threads", "cpu_seconds_total", "open_fds", "max_fds"] {
            let name = format!("process_{name} ");
            let line = text.lines().find(|line| line.starts_with(&name)).expect(&name);
            assert!(line[name.len()..].parse::<f64>().unwrap() >= 0.0, "{line}");
        }
    }
}
