//! Programs in Java, compiled once per run against jars that `make` installed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use super::cluster::fresh_dir;
use super::process;

/// A compiler beside others on two cores.
const LIMIT: Duration = Duration::from_secs(180);

/// A class of that folder of the repository, and those of the folder that it names, with the jars in `home/lib` and these
/// options of the machine.
pub fn program(home: &Path, folder: &str, class: &str, options: &[&str]) -> Command {
    static CLASSES: Mutex<BTreeMap<(PathBuf, String), PathBuf>> = Mutex::new(BTreeMap::new());
    let jars = home.join("lib").join("*");
    let mut all = CLASSES.lock().unwrap();
    let classes = all.entry((home.to_owned(), class.to_owned())).or_insert_with(|| {
        let name = home.file_name().unwrap().display();
        let classes = fresh_dir(&format!("{name}-{class}"));
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        let mut javac = process::command("javac");
        javac.args(["-nowarn", "-implicit:class", "-proc:none", "-cp"]).arg(&jars);
        javac.arg("-sourcepath").arg(&sources).arg("-d").arg(&classes);
        javac.arg(sources.join(format!("{class}.java")));
        process::run(javac, LIMIT).ok("javac");
        classes
    });
    let mut command = process::command("java");
    // Short-lived: the first compiler and one thread of garbage collection start fastest.
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC"]).args(options).arg("-cp");
    command.arg(format!("{}:{}", jars.display(), classes.display())).arg(class);
    command
}
