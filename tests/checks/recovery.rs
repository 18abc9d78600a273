//! The runbook, `docs/recovery.md`: every command of it is typed, in order, on a store to which just that has happened.
//!
//! A block `sh` is run by a shell; a comment `# exit code N` on its last line says how it ends, else it is 0. A block `text` after it says what is printed: each of its
//! lines must be found, in order; `…` stands for anything.

use std::fs;
use std::path::{Path, PathBuf};

use super::shelf::flip;
use super::support::cli::{Place, Ran};
use super::support::points::{noise, same};
use super::support::process::limited;
use super::support::tree::{Tree, look};

/// A part of the runbook.
struct Section {
    title: String,
    blocks: Vec<Block>,
}

struct Block {
    commands: String,
    prints: Vec<String>,
}

fn sections() -> Vec<Section> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/recovery.md")).unwrap();
    let mut sections: Vec<Section> = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(title) = line.strip_prefix("## ") {
            sections.push(Section { title: title.to_owned(), blocks: Vec::new() });
        }
        let Some(kind) = line.strip_prefix("```") else { continue };
        let body: Vec<String> = lines.by_ref().take_while(|line| *line != "```").map(str::to_owned).collect();
        let blocks = &mut sections.last_mut().unwrap().blocks;
        match kind {
            "sh" => blocks.push(Block { commands: body.join("\n"), prints: Vec::new() }),
            "text" => blocks.last_mut().unwrap().prints = body,
            other => panic!("a block of a kind that nobody runs: {other}"),
        }
    }
    sections
}

/// The machine of the runbook, below a directory of its own.
struct Machine {
    place: Place,
}

impl Machine {
    fn new() -> Self {
        let machine = Self { place: Place::new() };
        for dir in ["srv/www/conf", "mnt/disk", "tmp"] {
            fs::create_dir_all(machine.at(dir)).unwrap();
        }
        machine.write("conf/site.conf", b"port = 80\n");
        machine.write("index.html", b"release 41\n");
        for number in 0..12 {
            machine.write(&format!("image-{number}"), &noise(number, 20_000));
        }
        machine.run("dbakfs init && dbakfs backup /srv/www --name www").exits(0);
        machine.write("conf/site.conf", b"port = 8080\n");
        machine.run("dbakfs backup /srv/www --name www --tag before-deploy-42").exits(0);
        machine
    }

    fn at(&self, path: &str) -> PathBuf {
        self.place.path(path.trim_start_matches('/'))
    }

    fn write(&self, name: &str, bytes: &[u8]) {
        fs::write(self.at("srv/www").join(name), bytes).unwrap();
    }

    fn tree(&self) -> Tree {
        look(&self.at("srv/www"))
    }

    /// Types commands, on the paths of this machine.
    fn run(&self, commands: &str) -> Ran {
        let mut typed = commands.to_owned();
        for path in ["/srv/", "/mnt/disk/"] {
            typed = typed.replace(path, &format!("{}/", self.at(path).display()));
        }
        let program = Path::new(env!("CARGO_BIN_EXE_dbakfs")).parent().unwrap();
        let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
        let mut shell = std::process::Command::new("sh");
        shell.args(["-eu", "-c", &typed]).env("PATH", path).env("DBAKFS_STORE", self.at("srv/backups"));
        shell
            .env("HOME", self.at("home"))
            .env("DBAKFS_CONFIG", "/dev/null")
            .env("TZ", "UTC")
            .env("TMPDIR", self.at("tmp"));
        limited(shell.env_remove("XDG_DATA_HOME").env_remove("XDG_STATE_HOME").current_dir(self.at("srv")))
    }

    /// Types a block of the runbook.
    fn types(&self, section: &str, block: &Block) {
        let last = block.commands.lines().last().unwrap();
        let code = last.split_once("# exit code ").map_or(0, |(_, code)| code.trim().parse().unwrap());
        let ran = self.run(&block.commands);
        assert_eq!(ran.code, code, "{section}:\n{}\n{ran:#?}", block.commands);
        let srv = format!("{}/", self.at("/srv/").display());
        let printed = ran.stdout.replace(&srv, "/srv/");
        let mut rest = printed.as_str();
        for line in &block.prints {
            for part in line.split('…').map(str::trim) {
                let found = rest.find(part);
                rest =
                    &rest[found.unwrap_or_else(|| panic!("{section}: {part:?} of {line:?} is not in:\n{printed}"))..];
                rest = &rest[part.len()..];
            }
        }
    }
}

#[test]
fn every_command_of_the_runbook_does_what_it_says() {
    let mut machine = Machine::new();
    let mut typed = Vec::new();
    let good = machine.tree();
    for Section { title, blocks } in sections() {
        // What has happened, and what must be true when the section has been followed.
        let after: Box<dyn Fn(&Machine)> = match title.as_str() {
            "First" => Box::new(|_| ()),
            "One file" => {
                machine.write("conf/site.conf", b"typed over\n");
                let good = good.clone();
                Box::new(move |machine| {
                    same_content("the file in its place", &good, &machine.tree());
                    let beside = fs::read(machine.at("srv/restored/site.conf")).unwrap();
                    assert_eq!(beside, b"port = 8080\n");
                })
            }
            "Whole tree" => {
                fs::remove_dir_all(machine.at("srv/www")).unwrap();
                let good = good.clone();
                Box::new(move |machine| same("the whole tree", &good, &machine.tree()))
            }
            "Bad deploy" => {
                machine.write("index.html", b"release 42, broken\n");
                machine.write("left-over", b"of the deploy\n");
                fs::remove_file(machine.at("srv/www/image-3")).unwrap();
                machine.run("dbakfs backup /srv/www --name www").exits(0).prints("differential 3");
                let good = good.clone();
                Box::new(move |machine| same("the site before the deploy", &good, &machine.tree()))
            }
            "Forgotten too much" => {
                machine.run("dbakfs forget 3").exits(0);
                Box::new(|machine| assert_eq!(numbers(machine), [1, 2, 3]))
            }
            "Encrypted or emptied source" => {
                machine.run("dbakfs backup /srv/www --name www --force").exits(0).prints("differential 4");
                let good = machine.tree();
                encrypt(&machine.at("srv/www"));
                // Of either kind: the rules may want a full for so much that is new.
                machine.run("dbakfs backup /srv/www --name www").exits(0).prints(" 5").says("ALARM");
                Box::new(move |machine| {
                    same("the tree before it was encrypted", &good, &look(&machine.at("srv/restored-tree")));
                    assert_eq!(numbers(machine), [1, 2, 3, 4]);
                    let listed = fs::read_to_string(machine.at("srv/backups/sources/www.toml")).unwrap();
                    assert!(!listed.contains("[alarm]"), "it was acknowledged: {listed}");
                    // The clean source of the sections to come.
                    machine.run("dbakfs restore 4 /srv/www --delete").exits(0);
                })
            }
            "Lost index" => {
                fs::remove_dir_all(machine.at("srv/backups/index")).unwrap();
                Box::new(|machine| assert!(machine.at("srv/backups/index").is_dir()))
            }
            "Damaged pack" => {
                let pack = largest_pack(&machine);
                let len = usize::try_from(fs::metadata(&pack).unwrap().len()).unwrap();
                flip(&pack, len / 2);
                Box::new(|machine| {
                    let restored = machine.at("srv/after-damage");
                    machine.run("dbakfs restore www/latest /srv/after-damage").exits(0);
                    same("the point after the damage", &machine.tree(), &look(&restored));
                })
            }
            "Lost machine" => {
                machine = Machine::new();
                let lost = machine.tree();
                fs::rename(machine.at("srv/backups"), machine.at("mnt/disk/backups")).unwrap();
                fs::remove_dir_all(machine.at("srv/www")).unwrap();
                Box::new(move |machine| same("the tree of the lost machine", &lost, &machine.tree()))
            }
            other => panic!("nothing is prepared for the section {other}"),
        };
        for block in &blocks {
            machine.types(&title, block);
        }
        after(&machine);
        typed.push((title, blocks.len()));
    }
    assert_eq!(typed.len(), 9, "{typed:?}");
    assert!(typed.iter().all(|(_, blocks)| *blocks > 0), "{typed:?}");
    assert_eq!(fs::read_dir(machine.at("tmp")).unwrap().count(), 0, "rehearsals leave nothing");
}

fn numbers(machine: &Machine) -> Vec<u64> {
    let ran = machine.run("dbakfs list www --json").exits(0);
    ran.json().iter().map(|point| point["number"].as_u64().unwrap()).collect()
}

/// What ransomware does: every file is rewritten under another name.
fn encrypt(root: &Path) {
    for (path, entry) in look(root) {
        let path = root.join(String::from_utf8(path).unwrap());
        if entry.kind() == libc::S_IFREG {
            fs::write(path.with_extension("locked"), noise(entry.size, usize::try_from(entry.size).unwrap())).unwrap();
            fs::remove_file(path).unwrap();
        }
    }
}

fn largest_pack(machine: &Machine) -> PathBuf {
    let storage = dbakfs::repository::Store::open(&machine.at("srv/backups")).unwrap();
    let packs = dbakfs::pack::list(storage.storage()).unwrap();
    let largest = packs.iter().max_by_key(|pack| pack.file_len).unwrap();
    machine.at("srv/backups").join(dbakfs::format::layout::pack(&largest.id))
}

/// As [`same`], but the time of a directory into which one file was restored has moved on.
fn same_content(what: &str, original: &Tree, copy: &Tree) {
    assert_eq!(original.keys().collect::<Vec<_>>(), copy.keys().collect::<Vec<_>>(), "{what}");
    for (path, entry) in original {
        assert_eq!(entry.content, copy[path].content, "{what}: {}", String::from_utf8_lossy(path));
    }
}
