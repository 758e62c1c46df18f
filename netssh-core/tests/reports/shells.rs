//! Tests logins that end in a shell or a boot loader instead of a command line.
//!
//! The session enters the command line if the platform declares how; otherwise the login fails. An
//! answer of such a prompt never counts as a success.

use netssh_core::Platform;

use crate::reports::{all, same};
use crate::scripted::Device;

/// A shell or a boot loader: its prompt, and its message for unknown commands.
struct Shell {
    prompt: &'static str,
    refusal: &'static str,
    source: &'static str,
}

#[rustfmt::skip]
const SHELLS: &[Shell] = &[
    Shell { prompt: "bash-4.2# ", refusal: "bash: {word}: command not found\n", source: "ansible#49244" },
    Shell { prompt: "root@sw1:~# ", refusal: "-bash: {word}: command not found\n", source: "netmiko#298" },
    Shell { prompt: "admin@sw1:~$ ", refusal: "-bash: {word}: command not found\n", source: "netmiko#120" },
    Shell { prompt: "root@ex1:RE:0% ", refusal: "{word}: Command not found.\n", source: "netmiko#2621" },
    Shell { prompt: "root@vMX1_RE:~ # ", refusal: "{word}: not found\n", source: "netmiko#298" },
    Shell { prompt: "% ", refusal: "{word}: Command not found.\n", source: "netmiko#643" },
    Shell { prompt: "# ", refusal: "sh: {word}: not found\n", source: "busybox's shell without a name" },
    Shell { prompt: "loader> ", refusal: "unknown command '{word}'\n", source: "the boot loader of FreeBSD and NX-OS" },
    Shell { prompt: "rommon 15 > ", refusal: "\nmonitor: command \"{word}\" not found\n\n", source: "netmiko#2904" },
    Shell { prompt: "switch: ", refusal: "unknown cmd: {word}\n", source: "the boot loader of Catalyst switches" },
    Shell { prompt: "=> ", refusal: "Unknown command '{word}' - try 'help'\n", source: "U-Boot" },
    Shell { prompt: "grub> ", refusal: "error: can't find command `{word}'.\n", source: "GRUB" },
];

/// Returns whether the platform expects a command line other than a shell; `generic` accepts any.
fn expects_another_command_line(platform: &str) -> bool {
    platform != "linux" && platform != "generic"
}

async fn is_no_command_line(case: (&'static str, &'static Shell)) -> Result<(), String> {
    let (platform, shell) = case;
    let name = format!("{platform}, {:?} ({})", shell.prompt, shell.source);
    let running = Device::begins(platform)
        .shell("shell", shell.prompt, shell.refusal)
        .start()
        .await;
    let mut endpoint = running.endpoint();
    endpoint.timeouts.login = std::time::Duration::from_secs(4);
    if let Ok(mut session) = running.connect_to(&endpoint).await {
        let reply = session.exec("show version").await;
        let outcome = reply.map(|reply| (reply.output, reply.failure));
        return Err(format!("{name}: logged in; show version: {outcome:?}"));
    }
    running.assert_no_secret();
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_login_that_ends_in_a_shell_or_a_boot_loader_fails() {
    let platforms = Platform::names().into_iter();
    let cases = platforms
        .filter(|platform| expects_another_command_line(platform))
        .flat_map(|platform| SHELLS.iter().map(move |shell| (platform, shell)));
    all(cases.collect(), is_no_command_line).await;
}

async fn is_refused(shell: &'static Shell) -> Result<(), String> {
    let running = Device::begins("generic")
        .shell("shell", shell.prompt, shell.refusal)
        .start()
        .await;
    let mut endpoint = running.endpoint();
    endpoint.timeouts.login = std::time::Duration::from_secs(4);
    // The login at a boot loader may also fail, because its prompt is known.
    let Ok(mut session) = running.connect_to(&endpoint).await else {
        return Ok(());
    };
    let reply = session.exec("show version").await;
    match reply {
        Ok(reply) if reply.is_success() => Err(format!(
            "generic, {:?}: success: {:?}",
            shell.prompt, reply.output
        )),
        _ => Ok(()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_unknown_to_the_shell_is_refused() {
    all(SHELLS.iter().collect(), is_refused).await;
}

/// Returns a shell from which `cli` starts Junos's command line.
fn junos_shell(prompt: &'static str, refusal: &'static str) -> Device {
    Device::begins("juniper_junos")
        .greeting("Last login: Wed Oct 19 17:37:28 2016 from 10.160.3.2\n--- JUNOS 15.1R1.9 Kernel 32-bit\n JNPR-10.1-20150617.306001_builder_stable_10\n")
        .shell("shell", prompt, refusal)
        .to("cli", "", "cli")
        .state("cli", "root@ex1> ")
        .on("show version", "Hostname: ex1\nModel: ex4200-24p\n")
        .to("configure", "Entering configuration mode\n\n", "configuration")
        .to("exit", "\n", "shell")
        .state("configuration", "[edit]\nroot@ex1# ")
        .to("exit configuration-mode", "Exiting configuration mode\n\n", "cli")
}

async fn leads_to_the_command_line(case: (&'static str, &'static str)) -> Result<(), String> {
    let (prompt, refusal) = case;
    for packet in [usize::MAX, 1] {
        let running = junos_shell(prompt, refusal).packets(packet).start().await;
        let mut session = running
            .connect()
            .await
            .map_err(|error| format!("{prompt:?}: {error}"))?;
        same(prompt, session.prompt(), "root@ex1>")?;
        let reply = session
            .exec("show version")
            .await
            .map_err(|error| error.to_string())?;
        same(
            prompt,
            reply.output.as_str(),
            "Hostname: ex1\nModel: ex4200-24p",
        )?;
        let ways = running.typed_in("shell");
        let ways = ways.iter().filter(|line| *line == "cli").count();
        same("the way is taken once", ways, 1)?;
        session.close().await;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_root_shell_of_junos_leads_to_its_command_line() {
    let cases = vec![
        // netmiko#2621, #152, #298, #643.
        ("root@ex4200-24p:RE:0% ", "{word}: Command not found.\n"),
        ("root@NET-Sandbox:RE:0%", "{word}: Command not found.\n"),
        ("root@vMX1_RE:~ # ", "{word}: not found\n"),
        ("root@% ", "{word}: Command not found.\n"),
        ("% ", "{word}: Command not found.\n"),
    ];
    all(cases, leads_to_the_command_line).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_leads_into_a_shell_does_not_make_the_next_one_a_success() {
    // ansible#49244, ansible#30632.
    let running = Device::new("cisco_nxos", "n9k#")
        .on(
            "show version",
            "Cisco Nexus Operating System (NX-OS) Software\n",
        )
        .to("run bash", "", "shell")
        .shell("shell", "bash-4.2$ ", "bash: {word}: command not found\n")
        .to("exit", "", "exec")
        .start()
        .await;
    let mut session = running.connect().await.unwrap();
    // The first reply is irrelevant; the shell does not know the next command.
    if session.exec("run bash").await.is_err() {
        return;
    }
    match session.exec("show version").await {
        Ok(reply) => assert!(!reply.is_success(), "{reply:?}"),
        Err(error) => assert!(!session.is_usable(), "{error}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_device_that_reboots_into_its_loader_is_not_configured() {
    let running = Device::begins("cisco_ios")
        .shell(
            "shell",
            "rommon 1 >",
            "\nmonitor: command \"{word}\" not found\n\n",
        )
        .start()
        .await;
    let mut endpoint = running.endpoint();
    endpoint.timeouts.login = std::time::Duration::from_secs(4);
    let error = running
        .connect_to(&endpoint)
        .await
        .expect_err("a boot loader");
    assert!(error.to_string().contains("rommon 1 >"), "{error}");
}
