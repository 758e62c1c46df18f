//! Blocks of a configuration: a line, and the lines indented deeper that follow it.

/// A line and the lines below it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block<'a> {
    pub(crate) head: &'a str,
    /// The lines below, without their indentation.
    pub(crate) lines: Vec<&'a str>,
}

/// Returns every line with deeper indented lines below it, at any depth, in order.
pub(crate) fn blocks(config: &str) -> Vec<Block<'_>> {
    let lines: Vec<&str> = config
        .lines()
        .map(str::trim_end)
        .filter(|line| !line.is_empty())
        .collect();
    let mut blocks = Vec::new();
    for (index, head) in lines.iter().enumerate() {
        let below: Vec<&str> = lines[index + 1..]
            .iter()
            .take_while(|line| indentation(line) > indentation(head))
            .map(|line| line.trim_start())
            .collect();
        if !below.is_empty() {
            blocks.push(Block {
                head: head.trim_start(),
                lines: below,
            });
        }
    }
    blocks
}

fn indentation(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_indented_below_a_line_belongs_to_it() {
        let config = "hostname r1\ninterface eth0\n ip address 10.0.0.1/24\n shutdown\n!\nrouter bgp 1\n address-family ipv4\n  network 10.0.0.0/8\n exit\n";
        let heads: Vec<_> = blocks(config).into_iter().map(|block| block.head).collect();
        assert_eq!(
            heads,
            ["interface eth0", "router bgp 1", "address-family ipv4"]
        );
        assert_eq!(
            blocks(config)[0].lines,
            ["ip address 10.0.0.1/24", "shutdown"]
        );
        assert_eq!(blocks(config)[1].lines.len(), 3);
    }

    #[test]
    fn a_configuration_without_indentation_has_no_blocks() {
        assert!(blocks("set system host-name r1\nset system login\n").is_empty());
        assert!(blocks("").is_empty());
    }
}
