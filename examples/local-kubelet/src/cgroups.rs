//! Pods made of cgroups: a slice (or a container beside it) at the top of the hierarchy is a pod, the groups in it are its containers.
//!
//! Both hierarchies are read: v2 (unified), and v1 (cpuacct and memory apart, a group counts where both have it). A group
//! is the same as long as its folder is; made anew under its name it is a new start, as a restarted container is.
//! Working set is usage − `inactive_file`, as cAdvisor computes it.

use std::collections::{BTreeMap, HashSet};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::names;
use crate::proc::{Faults, keyed};
use crate::sample::{Container, Memory, Meter, Moment, Pod, Usage};

/// The cgroups of a machine.
#[derive(Debug)]
pub struct Cgroups {
    layout: Layout,
    groups: BTreeMap<PathBuf, Group>,
}

/// Where the files stand.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Layout {
    /// One folder per group.
    Unified(PathBuf),
    /// One folder per group and controller.
    Split { cpu: PathBuf, memory: PathBuf },
}

/// A group that was seen at the last look.
#[derive(Debug)]
struct Group {
    /// Of its folder: a group made anew has another.
    inode: u64,
    started: Timestamp,
    meter: Meter,
}

/// What limits nothing in v1 is this large or larger.
const UNLIMITED: u64 = 1 << 60;

// === impl Cgroups ===

impl Cgroups {
    /// The hierarchy mounted here (/sys/fs/cgroup), if it holds groups whose CPU and memory can be read.
    #[must_use]
    pub fn at(root: &Path) -> Option<Self> {
        let layout = if root.join("cgroup.controllers").exists() {
            Layout::Unified(root.to_owned())
        } else {
            let cpu = ["cpuacct", "cpu,cpuacct"]
                .map(|name| root.join(name))
                .into_iter()
                .find(|path| path.is_dir())?;
            Layout::Split {
                cpu,
                memory: root.join("memory"),
            }
        };
        let measured = layout
            .children(Path::new(""))
            .into_iter()
            .any(|group| layout.read(&group).is_some());
        measured.then_some(Self {
            layout,
            groups: BTreeMap::new(),
        })
    }

    /// The pods that these groups are, by name. A group that goes away meanwhile is left out.
    ///
    /// # Errors
    /// The hierarchy is gone.
    pub fn pods(&mut self) -> anyhow::Result<Vec<Pod>> {
        anyhow::ensure!(self.layout.cpu().is_dir(), "{} is gone", self.layout.cpu().display());
        let (mut pods, mut seen) = (Vec::new(), HashSet::new());
        for slice in self.layout.children(Path::new("")) {
            let Some((started, usage)) = self.usage(&slice, &mut seen) else {
                continue;
            };
            let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let mut containers = Vec::new();
            for path in self.layout.children(&slice) {
                if let Some((started, usage)) = self.usage(&path, &mut seen) {
                    containers.push(Container {
                        name: names::label(&name(&path)),
                        started,
                        usage,
                    });
                }
            }
            if containers.is_empty() {
                containers.push(Container {
                    name: names::label(&name(&slice)),
                    started,
                    usage,
                });
            }
            containers.sort_by(|a, b| a.name.cmp(&b.name));
            pods.push(Pod {
                namespace: "cgroups",
                name: names::subdomain(&name(&slice)),
                started,
                usage,
                containers,
            });
        }
        self.groups.retain(|path, _| seen.contains(path));
        pods.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(pods)
    }

    fn usage(&mut self, path: &Path, seen: &mut HashSet<PathBuf>) -> Option<(Timestamp, Usage)> {
        let (cpu, memory) = self.layout.read(path)?;
        let now = Moment::now();
        let folder = std::fs::metadata(self.layout.cpu().join(path)).ok()?;
        seen.insert(path.to_owned());
        let group = self.groups.entry(path.to_owned()).or_insert_with(|| Group::new(&folder, now));
        if group.inode != folder.ino() || cpu < group.meter.total() {
            // Made anew between two looks.
            *group = Group::new(&folder, now);
        }
        group.meter.read(cpu, now.steady);
        Some((
            group.started,
            Usage {
                at: now.wall,
                cpu: group.meter.total(),
                rate: group.meter.rate(),
                memory,
            },
        ))
    }
}

// === impl Group ===

impl Group {
    /// A group's folder has no time of birth; its oldest time is the nearest to it.
    fn new(folder: &std::fs::Metadata, now: Moment) -> Self {
        let oldest = folder.mtime().min(folder.ctime());
        let started = Timestamp::from_second(oldest).map_or(now.wall, |oldest| oldest.min(now.wall));
        Self {
            inode: folder.ino(),
            started,
            meter: Meter::default(),
        }
    }
}

// === impl Layout ===

impl Layout {
    /// The root of the hierarchy that counts CPU.
    fn cpu(&self) -> &Path {
        match self {
            Self::Unified(root) => root,
            Self::Split { cpu, .. } => cpu,
        }
    }

    /// The groups in a group, by path from the root.
    fn children(&self, of: &Path) -> Vec<PathBuf> {
        let folder = std::fs::read_dir(self.cpu().join(of)).into_iter().flatten().flatten();
        let folders = folder.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        let mut children: Vec<PathBuf> = folders.map(|entry| of.join(entry.file_name())).collect();
        children.sort();
        children
    }

    /// CPU nanoseconds and memory of a group; `None` if a controller does not count for it.
    fn read(&self, path: &Path) -> Option<(u64, Memory)> {
        let text = |root: &Path, file: &str| std::fs::read_to_string(root.join(path).join(file)).ok();
        let number = |root: &Path, file: &str| text(root, file)?.trim().parse::<u64>().ok();
        match self {
            Self::Unified(root) => {
                let cpu = keyed(&text(root, "cpu.stat")?, "usage_usec")?.saturating_mul(1000);
                let (usage, stat) = (number(root, "memory.current")?, text(root, "memory.stat")?);
                let stat = |key| keyed(&stat, key).unwrap_or(0);
                let memory = Memory {
                    usage,
                    working_set: usage.saturating_sub(stat("inactive_file")),
                    rss: stat("anon"),
                    // "max" is no number, and no limit.
                    limit: number(root, "memory.max"),
                    faults: Faults {
                        all: stat("pgfault"),
                        major: stat("pgmajfault"),
                    },
                    swap: number(root, "memory.swap.current"),
                    swap_limit: number(root, "memory.swap.max"),
                };
                Some((cpu, memory))
            }
            Self::Split { cpu, memory } => {
                let ticks = number(cpu, "cpuacct.usage")?;
                let (usage, stat) = (number(memory, "memory.usage_in_bytes")?, text(memory, "memory.stat")?);
                let total = |key| keyed(&stat, key).unwrap_or(0);
                let memory = Memory {
                    usage,
                    working_set: usage.saturating_sub(total("total_inactive_file")),
                    rss: total("total_rss"),
                    limit: number(memory, "memory.limit_in_bytes").filter(|limit| *limit < UNLIMITED),
                    faults: Faults {
                        all: total("total_pgfault"),
                        major: total("total_pgmajfault"),
                    },
                    swap: keyed(&stat, "total_swap"),
                    swap_limit: None,
                };
                Some((ticks, memory))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn write(root: &Path, group: &str, files: &[(&str, &str)]) {
        fs::create_dir_all(root.join(group)).unwrap();
        for (file, text) in files {
            fs::write(root.join(group).join(file), text).unwrap();
        }
    }

    fn unified(root: &Path, group: &str, usage_usec: u64) {
        let cpu = format!("usage_usec {usage_usec}\nuser_usec 1\n");
        let stat = "anon 300\nfile 700\ninactive_file 400\npgfault 9\npgmajfault 1\n";
        let files = [
            ("cpu.stat", cpu.as_str()),
            ("memory.current", "1000\n"),
            ("memory.stat", stat),
            ("memory.max", "max\n"),
        ];
        write(root, group, &files);
    }

    #[test]
    fn a_slice_is_a_pod_and_what_it_holds_are_its_containers() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert!(Cgroups::at(root).is_none(), "nothing is mounted");
        write(root, "", &[("cgroup.controllers", "cpu memory\n")]);
        write(root, "unmeasured", &[("cpu.stat", "usage_usec 1\n")]);
        assert!(Cgroups::at(root).is_none(), "nothing can be measured");
        unified(root, "system.slice", 5_000);
        unified(root, "system.slice/ssh.service", 2_000);
        unified(root, "system.slice/ssh.service/deeper", 1_000);
        unified(root, "init.scope", 7);
        write(
            root,
            "init.scope",
            &[
                ("memory.max", "4096\n"),
                ("memory.swap.current", "5\n"),
                ("memory.swap.max", "50\n"),
            ],
        );

        let mut cgroups = Cgroups::at(root).unwrap();
        let pods = cgroups.pods().unwrap();
        let names = |pod: &Pod| {
            (
                pod.name.clone(),
                pod.containers.iter().map(|c| c.name.clone()).collect::<Vec<_>>(),
            )
        };
        let expected = [
            ("init.scope".to_owned(), vec![names::label("init.scope")]),
            ("system.slice".to_owned(), vec![names::label("ssh.service")]),
        ];
        assert_eq!(pods.iter().map(names).collect::<Vec<_>>(), expected);
        let memory = Memory {
            usage: 1000,
            working_set: 600,
            rss: 300,
            faults: Faults { all: 9, major: 1 },
            ..Memory::default()
        };
        assert_eq!(pods[1].usage.memory, memory);
        assert_eq!(
            pods[0].usage.memory,
            Memory {
                limit: Some(4096),
                swap: Some(5),
                swap_limit: Some(50),
                ..memory
            }
        );
        assert_eq!((pods[1].usage.cpu, pods[1].containers[0].usage.cpu), (5_000_000, 2_000_000));
    }

    #[test]
    fn a_group_made_anew_starts_anew() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, "", &[("cgroup.controllers", "")]);
        unified(root, "a.slice", 1_000);
        let mut cgroups = Cgroups::at(root).unwrap();
        cgroups.pods().unwrap();
        unified(root, "a.slice", 2_000);
        let pods = cgroups.pods().unwrap();
        assert_eq!(pods[0].usage.cpu, 2_000_000);
        assert!(pods[0].usage.rate > 0);
        // Less than before: not the same group, whatever its folder says.
        unified(root, "a.slice", 1_500);
        let pods = cgroups.pods().unwrap();
        assert_eq!((pods[0].usage.cpu, pods[0].usage.rate), (1_500_000, 0));
        fs::remove_dir_all(root.join("a.slice")).unwrap();
        assert_eq!(cgroups.pods().unwrap(), []);
        assert!(cgroups.groups.is_empty());
    }

    #[test]
    fn in_v1_a_group_counts_where_both_controllers_have_it() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        write(root, "cpu,cpuacct/docker/one", &[("cpuacct.usage", "11\n")]);
        write(root, "cpu,cpuacct/docker", &[("cpuacct.usage", "20\n")]);
        write(root, "cpu,cpuacct/alone", &[("cpuacct.usage", "30\n")]);
        let stat = "inactive_file 1\ntotal_inactive_file 40\ntotal_rss 5\ntotal_swap 6\n";
        let files = [
            ("memory.usage_in_bytes", "100\n"),
            ("memory.stat", stat),
            ("memory.limit_in_bytes", "9223372036854771712\n"),
        ];
        write(root, "memory/docker", &files);
        write(root, "memory/docker/one", &files);
        let mut cgroups = Cgroups::at(root).unwrap();
        let pods = cgroups.pods().unwrap();
        assert_eq!(pods.len(), 1);
        assert_eq!(
            (pods[0].name.as_str(), pods[0].containers[0].name.as_str()),
            ("docker", "one")
        );
        assert_eq!((pods[0].usage.cpu, pods[0].containers[0].usage.cpu), (20, 11));
        let memory = Memory {
            usage: 100,
            working_set: 60,
            rss: 5,
            swap: Some(6),
            ..Memory::default()
        };
        assert_eq!(pods[0].usage.memory, memory);
    }
}
