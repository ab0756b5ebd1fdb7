//! A labgrid lab of two places on loopback: coordinator, exporter and client are labgrid's own, the boards are QEMUs whose
//! power is switched over HTTP and whose serial line is a TCP port.

use crate::machine::Machine;
use imagegen::runs::{self, mark};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex};
use tests::kernel::{checkout, get};
use tests::{Result, equal, tool};

const PLACES: [&str; 2] = ["one", "two"];

/// A serial line that everybody hears who is connected.
#[derive(Clone, Default)]
struct Line(Arc<Mutex<Vec<TcpStream>>>);

impl Line {
    /// Returns the port.
    fn listen(&self) -> Result<u16> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let (port, own) = (listener.local_addr()?.port(), self.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if let Ok(mut all) = own.0.lock() {
                    all.push(stream);
                }
            }
        });
        Ok(port)
    }
}

impl Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Ok(mut all) = self.0.lock() {
            all.retain_mut(|stream| stream.write_all(bytes).is_ok());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Switches machines, while there are any, as labgrid's model `simplerest` asks for: GET /NUMBER/1 or /NUMBER/0. Returns
/// the port.
fn power(machines: &Arc<Vec<Machine>>) -> Result<u16> {
    let machines = Arc::downgrade(machines);
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let Some(machines) = machines.upgrade() else { return };
            let status = asked(&mut stream, &machines).map_or("500 Internal Server Error", |()| "200 OK");
            let _ = write!(stream, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
        }
    });
    Ok(port)
}

fn asked(stream: &mut TcpStream, machines: &[Machine]) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let mut header = String::new();
    while reader.read_line(&mut header)? > 0 && header.trim() != "" {
        header.clear();
    }
    let words: Vec<&str> = line.split(['/', ' ']).filter(|word| !word.is_empty()).collect();
    let [_, number, value, ..] = words.as_slice() else { return Err(line.into()) };
    let machine = machines.get(number.parse::<usize>()?).ok_or("no such machine")?;
    match *value {
        "1" => machine.on(),
        _ => {
            machine.off();
            Ok(())
        }
    }
}

/// A lab that runs; ended when dropped.
struct Lab {
    programs: PathBuf,
    coordinator: String,
    servers: Vec<Child>,
}

impl Lab {
    /// With one place for each of `lines` and its number at the power switch; its files go into `folder`.
    fn start(folder: &Path, lines: &[u16], power: u16) -> Result<Self> {
        let output = Command::new(checkout().join("tests/setup/labgrid.sh")).output()?;
        if !output.status.success() {
            return Err(tool::said(&output).into());
        }
        let programs = PathBuf::from(String::from_utf8(output.stdout)?.trim_end());
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut lab = Lab { programs, coordinator: format!("127.0.0.1:{port}"), servers: Vec::new() };
        let mut resources = String::new();
        for (number, line) in lines.iter().enumerate() {
            resources += &format!(
                "{}:\n  NetworkSerialPort:\n    host: 127.0.0.1\n    port: {line}\n    speed: 115200\n    protocol: raw\n  \
                 NetworkPowerPort:\n    model: simplerest\n    host: 'http://127.0.0.1:{power}/{{index}}/{{value}}'\n    \
                 index: {number}\n",
                PLACES[number]
            );
        }
        std::fs::write(folder.join("exporter.yaml"), resources)?;
        let coordinator = lab.coordinator.clone();
        lab.serve(folder, &["labgrid-coordinator", "-l", &coordinator], "Coordinator ready")?;
        let exporter = ["labgrid-exporter", "-c", &coordinator, "-n", "lab", "exporter.yaml"];
        lab.serve(folder, &exporter, "Exporter ready")?;
        for place in PLACES {
            lab.client(&["-p", place, "create"])?;
            lab.client(&["-p", place, "add-match", &format!("lab/{place}/*")])?;
        }
        Ok(lab)
    }

    /// Starts a server and waits until it says that it is ready.
    fn serve(&mut self, folder: &Path, command: &[&str], ready: &str) -> Result<()> {
        let mut server = Command::new(self.programs.join(command[0]));
        server.args(&command[1..]).current_dir(folder).env("PYTHONUNBUFFERED", "1").stdin(Stdio::null());
        // One says it here, the other there.
        let (mut reader, writer) = io::pipe()?;
        server.stdout(writer.try_clone()?).stderr(writer);
        self.servers.push(server.spawn()?);
        drop(server);
        let (mut said, mut byte) = (String::new(), [0]);
        while !said.contains(ready) {
            if reader.read(&mut byte)? == 0 {
                return Err(format!("{} ended:\n{said}", command[0]).into());
            }
            said.push(char::from(byte[0]));
        }
        // What it says later must not block it.
        std::thread::spawn(move || io::copy(&mut reader, &mut io::sink()));
        Ok(())
    }

    fn run(&self, program: &Path, arguments: &[&str]) -> Result<Output> {
        let path = format!("{}:{}", self.programs.display(), std::env::var("PATH")?);
        let mut command = Command::new(program);
        command.args(arguments).env("PATH", path).env("LG_COORDINATOR", &self.coordinator);
        Ok(command.stdin(Stdio::null()).output()?)
    }

    fn client(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(&self.programs.join("labgrid-client"), arguments)?;
        if output.status.success() { Ok(tool::said(&output)) } else { Err(tool::said(&output).into()) }
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        for server in &mut self.servers {
            let _ = server.kill();
            let _ = server.wait();
        }
    }
}

#[test]
fn two_places_of_a_labgrid_lab_are_measured_at_once() -> Result<()> {
    let kernel = get("arm64-6.12")?;
    let folder = tempfile::tempdir()?;
    let at = |name: &str| folder.path().join(name);
    tool::build("qemu-arm64", &kernel, &tool::guest(&kernel, folder.path())?, &at("out"))?;
    let lines = [Line::default(), Line::default()];
    let machine = |place: &str, line: &Line| Machine::new(&at("out"), &at(place), line.clone());
    let machines = Arc::new(vec![machine(PLACES[0], &lines[0])?, machine(PLACES[1], &lines[1])?]);
    let ports = [lines[0].listen()?, lines[1].listen()?];
    let lab = Lab::start(folder.path(), &ports, power(&machines)?)?;

    let (first, second) = (at("one.json").display().to_string(), at("two.json").display().to_string());
    let files = ["--json", &first, "--json", &second];
    let until = ["--end", "guest: .* KiB free", "--timeout", "300s"];
    let arguments = [&["measure", "--labgrid", "one,two", "--runs", "2"], &files[..], &until[..]].concat();
    let output = lab.run(&tool::program()?, &arguments)?;
    let said = tool::said(&output);
    equal(&said, &output.status.code(), &Some(0))?;
    for (place, file) in PLACES.into_iter().zip([&first, &second]) {
        let runs = runs::read(Path::new(file))?;
        equal("place", &runs.conditions.place, &format!("labgrid {place}"))?;
        equal("kernel", &runs.conditions.kernel, &kernel.release()?)?;
        equal("boots", &runs.runs.len(), &2)?;
        for run in &runs.runs {
            let times: Vec<_> = [mark::POWER_ON, mark::NEXT_INIT, mark::END].map(|name| run.at(name)).into();
            equal(&format!("{times:?}"), &(times[0].is_some_and(|at| at < 0) && times.is_sorted()), &true)?;
        }
        equal("released", &lab.client(&["-p", place, "show"])?.contains("acquired: None"), &true)?;
    }
    equal("reservations", &lab.client(&["reservations"])?.contains("token"), &false)?;
    let output = lab.run(&tool::program()?, &["measure", "--labgrid", "three", "--json", &first])?;
    let said = tool::said(&output);
    equal(&said, &(output.status.code(), said.contains("three: ")), &(Some(1), true))
}
