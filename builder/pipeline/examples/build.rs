//! temp
fn main() -> std::process::ExitCode {
    tools::enter_if_requested();
    tools::namespace::enter_private_mounts().expect("ns");
    let image = std::env::args().nth(1).expect("image");
    let cache = std::path::PathBuf::from("/root/.cache/casemate");
    std::fs::create_dir_all(&cache).expect("cache");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("t").as_secs();
    let toolchain = pipeline::stages::agent::Toolchain { cargo: "cargo".into(), environment: std::env::vars().filter(|(k, _)| k == "PATH" || k == "HOME").collect() };
    let settings = pipeline::build::Settings { cache, mirror: None, offline: false, now, toolchain, build_names: vec![] };
    let b = pipeline::build::Builder::new(settings, tools::Progress::new(tools::ProgressMode::Plain));
    let r = b.build(&pipeline::build::BuildRequest { image: image.into(), output: None, keys: None, locked: None, compression: pipeline::build::Compression::Quick });
    match r { Ok(b) => { println!("{}", b.text()); std::process::ExitCode::SUCCESS } Err(e) => tools::report(&e) }
}
