//! The machine code of the image: its functions, the calls in them, and the stack that each of them takes.

use crate::shell::{Outcome, shown};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

/// A function of the image.
#[derive(Debug, Default)]
pub(super) struct Function {
    /// Demangled, without the hash that the compiler appends.
    pub(super) name: String,
    /// Bytes of stack, with the return address.
    pub(super) frame: u64,
    /// Direct calls and jumps: the instruction's address, and the address that it goes to.
    pub(super) calls: Vec<(u64, u64)>,
    /// Addresses of calls through a pointer, but for those to functions of the C library.
    pub(super) indirect: Vec<u64>,
}

/// The functions of a program by the addresses at which they begin.
#[derive(Debug, Default)]
pub(super) struct Disassembly(pub(super) BTreeMap<u64, Function>);

impl Disassembly {
    /// Disassembles a program for x86-64 with `objdump` of GNU binutils.
    pub(super) fn read(program: &Path) -> Outcome<Self> {
        let mut command = Command::new("objdump");
        command.args(["--disassemble", "--demangle", "--no-show-raw-insn"]).arg(program);
        let output = command.output().map_err(|e| format!("{}: {e}", shown(&command)))?;
        if !output.status.success() {
            return Err(format!("{}: {}", shown(&command), String::from_utf8_lossy(&output.stderr)).into());
        }
        Ok(Self::parse(&String::from_utf8_lossy(&output.stdout)))
    }

    fn parse(text: &str) -> Self {
        let mut functions: BTreeMap<u64, Function> = BTreeMap::new();
        let mut current = None;
        // A frame of several pages is taken page by page, in a loop whose end is computed in r11 first.
        let (mut page_by_page, mut computing_end) = (false, false);
        // Registers that hold the address of `memcpy`, `memset` and the like: calls of them go through a pointer, too.
        let mut library: BTreeSet<String> = BTreeSet::new();
        for line in text.lines() {
            if let Some((address, name)) = label(line) {
                let function = Function { name, frame: 8, ..Function::default() };
                current = Some(functions.entry(address).or_insert(function));
                page_by_page = false;
                library.clear();
                continue;
            }
            let (Some(function), Some((address, operation, operands))) = (&mut current, instruction(line))
            else {
                continue;
            };
            let taken = |register: &str| {
                let number = operands.strip_suffix(register)?.strip_prefix("$0x")?;
                u64::from_str_radix(number, 16).ok()
            };
            match operation {
                "push" => function.frame += 8,
                "mov" if operands == "%rsp,%r11" => {
                    computing_end = true;
                    continue;
                }
                "sub" if computing_end => {
                    function.frame += taken(",%r11").unwrap_or_default();
                    page_by_page = true;
                }
                "sub" if operands.ends_with(",%rsp") && page_by_page => page_by_page = false,
                "sub" => function.frame += taken(",%rsp").unwrap_or_default(),
                "mov" if operands.contains("(%rip),%") && is_of_library(operands) => {
                    let register = operands.split_once(',').map(|(_, to)| to.split_whitespace().next());
                    library.extend(register.flatten().map(|register| format!("*{register}")));
                }
                "mov" if operands.starts_with('%') => {
                    if let Some((from, to)) = operands.split_once(',')
                        && library.contains(&format!("*{from}"))
                    {
                        library.insert(format!("*{to}"));
                    }
                }
                "call" if library.contains(operands) || is_of_library(operands) => {}
                _ if operation.starts_with("call") || operation.starts_with('j') => match target(operands) {
                    Some(to) => function.calls.push((address, to)),
                    None if operation.starts_with("call") => function.indirect.push(address),
                    // A jump table within the function, which a switch becomes.
                    None => {}
                },
                _ => {}
            }
            computing_end = false;
        }
        Self(functions)
    }

    /// The function that an address is in.
    pub(super) fn at(&self, address: u64) -> Option<(u64, &Function)> {
        self.0.range(..=address).next_back().map(|(start, function)| (*start, function))
    }

    /// The functions that a function calls, or ends by jumping to.
    ///
    /// One that calls through a pointer calls all functions whose names begin as `through_pointers` says for it.
    pub(super) fn called_by(&self, start: u64, through_pointers: &[(&str, &str)]) -> Vec<u64> {
        let Some(function) = self.0.get(&start) else { return Vec::new() };
        // A jump to the own beginning is a loop.
        let direct = function.calls.iter().filter_map(|(_, to)| self.at(*to)).map(|(to, _)| to);
        let mut found: Vec<u64> = direct.filter(|to| *to != start).collect();
        if !function.indirect.is_empty() {
            for (_, targets) in through_pointers.iter().filter(|(name, _)| *name == function.name) {
                let named = self.0.iter().filter(|(_, function)| function.name.starts_with(targets));
                found.extend(named.map(|(start, _)| *start));
            }
        }
        found
    }

    /// Every function that can be reached from one, itself included.
    pub(super) fn reachable(&self, start: u64, through_pointers: &[(&str, &str)]) -> BTreeSet<u64> {
        let (mut found, mut open) = (BTreeSet::new(), vec![start]);
        while let Some(start) = open.pop() {
            if found.insert(start) {
                open.extend(self.called_by(start, through_pointers));
            }
        }
        found
    }

    /// The function with this name, without the hash that the compiler appends.
    pub(super) fn find(&self, name: &str) -> Option<u64> {
        self.0.iter().find(|(_, function)| function.name == name).map(|(start, _)| *start)
    }
}

/// Whether the operands name a function of the C library that the compiler itself calls. They are short loops.
fn is_of_library(operands: &str) -> bool {
    ["<memcpy@", "<memmove@", "<memset@", "<memcmp@", "<bcmp@", "<abort@"]
        .iter()
        .any(|name| operands.contains(name))
}

/// The label before a function: its address and its name.
fn label(line: &str) -> Option<(u64, String)> {
    let (address, name) = line.strip_suffix(">:")?.split_once(" <")?;
    Some((u64::from_str_radix(address, 16).ok()?, without_hash(name).to_owned()))
}

/// A demangled name of the old scheme ends in a hash: `::h` and 16 hexadecimal digits.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once("::h") {
        Some((before, hash)) if hash.len() == 16 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => before,
        _ => name,
    }
}

/// Address, operation and operands.
fn instruction(line: &str) -> Option<(u64, &str, &str)> {
    let (address, rest) = line.strip_prefix(' ')?.trim_start().split_once(':')?;
    let rest = rest.trim_start();
    let (operation, operands) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    Some((u64::from_str_radix(address, 16).ok()?, operation, operands.trim()))
}

/// The address in `1234 <name+0x5>`.
fn target(operands: &str) -> Option<u64> {
    u64::from_str_radix(operands.split_once(" <")?.0, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_and_calls_are_read() {
        let text = "\
0000000000001000 <unit::outer::h0123456789abcdef>:
    1000:	push   %rbp
    1001:	mov    %rsp,%r11
    1004:	sub    $0x3000,%r11
    100b:	sub    $0x1000,%rsp
    1012:	movq   $0x0,(%rsp)
    101a:	cmp    %r11,%rsp
    101d:	jne    100b <unit::outer::h0123456789abcdef+0xb>
    101f:	sub    $0x20,%rsp
    1023:	call   2000 <inner>
    1028:	call   *%rax
    1029:	mov    0x56709(%rip),%r12        # a29c8 <memcpy@GLIBC_2.14>
    102a:	call   *%r12
    102c:	jmp    *(%rax)
    102e:	ret

0000000000002000 <inner>:
    2000:	sub    $0x18,%rsp
    2004:	ret
";
        let code = Disassembly::parse(text);
        let outer = &code.0[&0x1000];
        assert_eq!((outer.name.as_str(), outer.frame), ("unit::outer", 8 + 8 + 0x3000 + 0x20));
        assert_eq!(outer.indirect, [0x1028]);
        assert_eq!(code.called_by(0x1000, &[]), [0x2000]);
        assert_eq!(code.called_by(0x1000, &[("unit::outer", "inn")]), [0x2000, 0x2000]);
        assert_eq!(code.reachable(0x2000, &[]).len(), 1);
        assert_eq!((code.0[&0x2000].frame, code.find("inner")), (0x20, Some(0x2000)));
    }
}
