//! Tests prompts with characters outside a usual pattern of host names.

use crate::reports::{all, same};
use crate::scripted::{COUNT, Device};

/// A prompt, as the device shows it.
#[derive(Clone, Copy)]
struct Case {
    platform: &'static str,
    prompt: &'static str,
    /// The prompts of configuration mode and of a sub-mode.
    configuration: Option<(&'static str, &'static str)>,
    /// The source of the prompt.
    source: &'static str,
}

const fn shown(platform: &'static str, prompt: &'static str, source: &'static str) -> Case {
    Case {
        platform,
        prompt,
        configuration: None,
        source,
    }
}

const fn configured(
    platform: &'static str,
    prompt: &'static str,
    configuration: &'static str,
    below: &'static str,
    source: &'static str,
) -> Case {
    Case {
        platform,
        prompt,
        configuration: Some((configuration, below)),
        source,
    }
}

#[rustfmt::skip]
const CASES: &[Case] = &[
    configured("cisco_ios", "core&edge#", "core&edge(config)#", "core&edge(config-if)#", "IOS takes it as a host name"),
    configured("cisco_ios", "sw-7#dist#", "sw-7#dist(config)#", "sw-7#dist(config-if)#", "IOS takes it as a host name"),
    configured("cisco_ios", "Street.76(3.11)#", "Street.76(3.11)(config)#", "Street.76(3.11)(config-if)#", "IOS takes it as a host name"),
    configured("cisco_ios", "sw1(s1)#", "sw1(s1)(config)#", "sw1(s1)(config-if)#", "ansible#28309"),
    configured("arista_eos", "sw1(s1)#", "sw1(s1)(config)#", "sw1(s1)(config-if-Et1)#", "ansible#28309"),
    configured("cisco_ios", "a$b%c!d#", "a$b%c!d(config)#", "a$b%c!d(config-if)#", "IOS takes it as a host name"),
    configured("cisco_ios", "it's.r1,a=b;c#", "it's.r1,a=b;c(config)#", "it's.r1,a=b;c(config-if)#", "IOS takes it as a host name"),
    configured("cisco_ios", "r1?*|#", "r1?*|(config)#", "r1?*|(config-if)#", "IOS takes it as a host name"),
    configured("cisco_ios", "[lab]r1#", "[lab]r1(config)#", "[lab]r1(config-if)#", "IOS takes it as a host name"),
    configured("cisco_ios", "{hq}-<r1>#", "{hq}-<r1>(config)#", "{hq}-<r1>(config-if)#", "IOS takes it as a host name"),
    configured("cisco_ios", "Zürich-1#", "Zürich-1(config)#", "Zürich-1(config-if)#", "names of UTF-8 are taken by IOS XE"),
    configured("cisco_ios", "Москва-r1#", "Москва-r1(config)#", "Москва-r1(config-if)#", "names of UTF-8 are taken by IOS XE"),
    configured("cisco_ios", "core switch 1#", "core switch 1(config)#", "core switch 1(config-if)#", "the command `prompt`, netmiko#2956"),
    configured("cisco_ios", "Loc-S123987345-STP-1234#", "Loc-S123987345(config)#", "Loc-S123987345(config-if)#", "netmiko#2956"),
    configured("cisco_ios", "access-switch-building-12-floor-3#", "access-switch-buildi(config)#", "access-switch-buildi(config-if)#", "IOS cuts names at 20 characters in configuration mode"),
    configured("cisco_ios", "400USW04003#", "400USW04003(config)#", "400USW04003(config-if)#", "napalm-ios#216"),
    configured("cisco_ios", "AS#", "AS(config)#", "AS(config-if)#", "netmiko#3704"),
    configured("cisco_xe", "r#", "r(config)#", "r(config-if)#", "the shortest name"),
    shown("cisco_ios", "CPE-XXX-YYYYYY-ZZZZZZZZ>", "netmiko#2713"),
    shown("cisco_ios", "------ switch name ------>", "netmiko#1368"),
    shown("cisco_ios", "r1-{n}#", "the command `prompt %h-%n%p`, which counts"),
    configured("cisco_nxos", "n9k-sw1(maint-mode)#", "n9k-sw1(maint-mode)(config)#", "n9k-sw1(maint-mode)(config-if)#", "netmiko#1156"),
    configured("cisco_nxos", "n9k-sw1# ", "n9k-sw1(config)# ", "n9k-sw1(config-if-range)# ", "NX-OS"),
    configured("cisco_nxos", "AAN-FI01-A(nxos)#", "AAN-FI01-A(nxos)(config)#", "AAN-FI01-A(nxos)(config-if)#", "netmiko#1229"),
    configured("cisco_xr", "RP/0/RSP0/CPU0:r1#", "RP/0/RSP0/CPU0:r1(config)#", "RP/0/RSP0/CPU0:r1(config-if)#", "IOS XR"),
    configured("cisco_xr", "RP/0/RP0/CPU0:core&edge#", "RP/0/RP0/CPU0:core&edge(config)#", "RP/0/RP0/CPU0:core&edge(config-if)#", "IOS XR"),
    configured("cisco_asa", "asa/ctx# ", "asa/ctx(config)# ", "asa/ctx(config-if)# ", "ASA with contexts"),
    configured("cisco_asa", "asa/act/pri# ", "asa/act/pri(config)# ", "asa/act/pri(config-if)# ", "the ASA's command `prompt hostname state priority`"),
    configured("arista_eos", "leaf1[14:33:{n}]#", "leaf1[14:33:{n}](config)#", "leaf1[14:33:{n}](config-if-Et1)#", "EOS's command `prompt %H[%T]%R%P`"),
    configured("arista_eos", "spine.1+a#", "spine.1+a(config)#", "spine.1+a(config-if-Et1/1)#", "EOS"),
    configured("dell_os10", "OS10# ", "OS10(config)# ", "OS10(conf-if-eth1/1/1)# ", "OS10"),
    configured("aruba_aoscx", "host1# ", "host1(config)# ", "host1(config-if)# ", "netmiko#2738"),
    configured("aruba_aoscx", "8325 (left)# ", "8325 (left)(config)# ", "8325 (left)(config-if)# ", "AOS-CX takes blanks"),
    configured("hp_procurve", "HP Switch 2920(a)# ", "HP Switch 2920(a)(config)# ", "HP Switch 2920(a)(eth-1)# ", "ProCurve takes blanks"),
    shown("hp_procurve", "hostname.tld> ", "oxidized#1697"),
    shown("hp_procurve", "\x1b[1;24r\x1b[24;1H\x1b[24;1H\x1b[2K\x1b[24;1H\x1b[?25h\x1b[24;1H\x1b[24;1H2530-13# \x1b[24;1H\x1b[24;10H\x1b[24;1H\x1b[?25h\x1b[24;10H", "oxidized#1595"),
    shown("extreme_exos", "Slot-1 stack_office_x3.{n} # ", "oxidized#2107"),
    shown("extreme_exos", "* Slot-1 x.{n} # ", "oxidized#2107"),
    shown("extreme_exos", "* sw0.l9.kv.{n} # ", "oxidized#2113"),
    shown("extreme_exos", "Slot-1 VPEX SW-00035-002.{n} # ", "oxidized#3259"),
    shown("extreme_exos", "(Private) core~1.{n} > ", "EXOS"),
    configured("juniper_junos", "fw> ", "[edit]\nfw# ", "[edit interfaces ge-0/0/0]\nfw# ", "Junos with `set cli prompt`"),
    configured("juniper_junos", "DOMAIN\\user@host> ", "[edit]\nDOMAIN\\user@host# ", "[edit system]\nDOMAIN\\user@host# ", "users of a directory"),
    configured("juniper_junos", "net+ops@ex1> ", "[edit]\nnet+ops@ex1# ", "[edit system]\nnet+ops@ex1# ", "users of RADIUS"),
    configured("juniper_junos", "a.user@example.net@ex1> ", "[edit]\na.user@example.net@ex1# ", "[edit system]\na.user@example.net@ex1# ", "users of RADIUS"),
    configured("juniper_junos", "{master:0}\nnetops@ex1> ", "{master:0}[edit]\nnetops@ex1# ", "{master:0}[edit system]\nnetops@ex1# ", "virtual chassis"),
    configured("juniper_junos", "{primary:node0}\nnetops@srx-a> ", "{primary:node0}[edit]\nnetops@srx-a# ", "{primary:node0}[edit system]\nnetops@srx-a# ", "SRX clusters"),
    configured("huawei_vrp", "<HUAWEI>", "[HUAWEI]", "[HUAWEI-GigabitEthernet0/0/1]", "VRP"),
    configured("huawei_vrp", "<sw name>", "[sw name]", "[sw name-GigabitEthernet0/0/1]", "VRP takes blanks"),
    configured("huawei_vrp", "<core&edge(A)>", "[core&edge(A)]", "[core&edge(A)-vlan10]", "VRP"),
    configured("huawei_vrp", "<sw#1>", "[sw#1]", "[sw#1-vlan10]", "VRP"),
    configured("huawei_vrp", "HRP_M<fw>", "HRP_M[fw]", "HRP_M[fw-policy-security]", "USG in a pair"),
    configured("huawei_vrp", "HRP_S<fw one>", "HRP_S[fw one]", "HRP_S[fw one-policy-security]", "USG in a pair"),
    configured("hp_comware", "<h3c core,1>", "[h3c core,1]", "[h3c core,1-GigabitEthernet1/0/1]", "Comware"),
    shown("mikrotik_routeros", "[admin@My Router] > ", "RouterOS takes blanks"),
    shown("mikrotik_routeros", "[admin@12(13)] > ", "community.routeros#14"),
    shown("mikrotik_routeros", "[DOMAIN\\user@gw #1] > ", "RouterOS"),
    shown("mikrotik_routeros", "[\x1b[m\x1b[36madmin\x1b[m\x1b[39m\x1b[49m@\x1b[32mgw[1]\x1b[m\x1b[39m\x1b[49m] > ", "RouterOS with colours"),
    configured("nokia_sros", "A:router# ", "A:router>config# ", "*A:router>config>port# ", "SR OS"),
    configured("nokia_sros", "*A:pe 1&2# ", "*A:pe 1&2>config# ", "*A:pe 1&2>config>port# ", "SR OS"),
    shown("nokia_sros", "\n[/]\nA:admin@r1# ", "SR OS with the model-driven command line"),
    shown("nokia_sros", "\n(gl)[/configure]\nA:admin@r1# ", "SR OS with the model-driven command line"),
    shown("nokia_sros", "\n[gl:/configure]\nA:admin@r1# ", "SR OS with the model-driven command line"),
    shown("fortinet", "fw-name~ (global) # ", "FortiOS cuts long names"),
    shown("fortinet", "FGT-01 # ", "FortiOS"),
    shown("fortinet", "FGT-01 (root) $ ", "FortiOS"),
    shown("fortinet", "fw+hq&1 # ", "FortiOS"),
    configured("paloalto_panos", "user@chassis(passive)> ", "[edit]\nuser@chassis(passive)# ", "[edit network]\nuser@chassis(passive)# ", "netmiko#1294"),
    configured("paloalto_panos", "DOMAIN\\user@PA-VM(active-primary)> ", "[edit]\nDOMAIN\\user@PA-VM(active-primary)# ", "[edit network]\nDOMAIN\\user@PA-VM(active-primary)# ", "users of a directory"),
    configured("vyos", "vyos@r1:~$ ", "[edit]\nvyos@r1# ", "[edit interfaces]\nvyos@r1# ", "VyOS"),
    configured("vyos", "\x1b[01;32mvyos@r1\x1b[00m:\x1b[01;34m~\x1b[00m$ ", "[edit]\nvyos@r1# ", "[edit interfaces]\nvyos@r1# ", "VyOS with a colour prompt"),
    configured("ubiquiti_edgerouter", "net+ops@ER 4:~$ ", "[edit]\nnet+ops@ER 4# ", "[edit interfaces]\nnet+ops@ER 4# ", "EdgeOS"),
    shown("generic", "bgl-xdm-100:~ > ", "netmiko#359"),
    shown("generic", "[Expert@fw1:0]# ", "netmiko#1410"),
    shown("generic", "(Cisco Controller) >", "netmiko#852"),
    shown("generic", "> ", "netmiko#1067, oxidized#2828"),
    shown("generic", "admin@NSA4600-UK> ", "oxidized#1236"),
    shown("generic", "SSH@MY-ROUTER>", "trigger#246"),
    shown("generic", "\x1b[1;32mgw-7\x1b[0m \x1b[33m#\x1b[0m ", "prompts with colours"),
    shown("generic", "--- menu shell $ ", "a prompt with blanks"),
];

/// Returns a read-only command of the platform.
fn show(platform: &str) -> &'static str {
    match platform {
        "huawei_vrp" | "hp_comware" => "display clock",
        "mikrotik_routeros" => "/system clock print",
        "fortinet" => "get system status",
        _ => "show clock",
    }
}

/// Returns the command that enters configuration mode.
fn enter(platform: &str) -> &'static str {
    match platform {
        "huawei_vrp" | "hp_comware" => "system-view",
        "juniper_junos" | "paloalto_panos" | "nokia_sros" | "vyos" | "ubiquiti_edgerouter" => {
            "configure"
        }
        _ => "configure terminal",
    }
}

/// Commands that leave configuration mode, on one platform or another.
const LEAVE: &[&str] = &[
    "end",
    "exit",
    "return",
    "quit",
    "abort",
    "exit all",
    "exit discard",
    "exit configuration-mode",
];
/// Commands that discard changes.
const DISCARD: &[&str] = &["rollback 0", "clear", "revert config", "discard"];

fn device(case: &Case) -> Device {
    let show = show(case.platform);
    let mut device = Device::new(case.platform, case.prompt).on(show, answer(case) + "\n");
    let Some((configuration, below)) = case.configuration else {
        return device;
    };
    device = device.to(enter(case.platform), "", "configuration");
    for (name, prompt, next) in [
        ("configuration", configuration, "below"),
        ("below", below, "below"),
    ] {
        device = device
            .state(name, prompt)
            .to("interface x", "", next)
            .on("description y", "");
        for leave in LEAVE {
            device = device.to(*leave, "", "exec");
        }
        for discard in DISCARD {
            device = device.to(*discard, "", "configuration");
        }
    }
    device
}

/// Returns the output of the command, which contains the prompt's own text.
fn answer(case: &Case) -> String {
    let line = case.prompt.lines().last().unwrap_or_default();
    format!("12:00:01 UTC Mon Mar 1 2021\nheard from {line}\nend of it")
}

async fn play(case: Case) -> Result<(), String> {
    for packet in [usize::MAX, 7, 1] {
        play_in_packets(&case, packet)
            .await
            .map_err(|error| format!("{}, {:?}: {error}", case.platform, case.prompt))?;
    }
    Ok(())
}

async fn play_in_packets(case: &Case, packet: usize) -> Result<(), String> {
    let running = device(case).packets(packet).start().await;
    let words = |error: netssh_core::Error| {
        format!(
            "{error} ({}; the device said {})",
            case.source,
            running.transcript()
        )
    };
    let mut session = running.connect().await.map_err(words)?;
    let prompt = session.prompt().to_owned();
    let line = case.prompt.lines().last().unwrap_or_default().trim();
    if !line.contains('\x1b') && !line.contains(COUNT) {
        same("the prompt", prompt.as_str(), line)?;
    }
    let show = show(case.platform);
    let expected = netssh_core::clean(answer(case).as_bytes());
    let reply = session.exec(show).await.map_err(words)?;
    same("the output", &reply.output, &expected)?;
    same("the failure", reply.failure, None)?;
    if case.configuration.is_some() {
        let mut configuration = session.configuration().await.map_err(words)?;
        for line in ["interface x", "description y"] {
            let reply = configuration.line(line).await.map_err(words)?;
            same("the output of a line", reply.output.as_str(), "")?;
            same("the failure of a line", reply.failure, None)?;
        }
        configuration.leave().await.map_err(words)?;
        let reply = session.exec(show).await.map_err(words)?;
        same("the output afterwards", &reply.output, &expected)?;
        let typed = running.typed_in("below");
        let arrived = typed.iter().any(|line| line == "description y");
        same("the line below arrived", arrived, true)?;
    }
    session.close().await;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn prompts_of_every_kind_are_learnt() {
    all(CASES.to_vec(), play).await;
}
