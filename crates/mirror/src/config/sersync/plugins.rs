//! The plugins `command` and `socket` of `confxml.xml`.
//!
//! Called by the reader of the file. sersync gives a shell the text of `prefix`, the path and
//! `suffix`; here they are words, so a prefix that needs a shell is refused by name.

use roxmltree::Node;
use rsync::options::FilterArg;

use super::{Reader, patterns};
use crate::config::SyncConfig;
use crate::config::plugin::{Plugin, PluginTo};

impl<'a> Reader<'a> {
    /// The plugin beside the transfers, if one is started.
    pub(super) fn plugin(&mut self) -> Option<Plugin> {
        const PATH: &str = "sersync/plugin";
        let node = self.element(PATH).filter(|_| self.on(PATH, false))?;
        let name = self.attribute(node, "name")?;
        let name = String::from_utf8_lossy(&name).into_owned();
        let plugin = self.plugin_named(node, &name)?;
        if let Some(local) = child(self.described(&name)?, "localpath") {
            let watched = self.element("sersync/localpath").and_then(|n| n.attribute("watch"));
            if local.attribute("watch") != watched {
                let text = "the plugin tells of the directory that is mirrored, not of this one";
                self.remark(local, text.into());
            }
        }
        Some(plugin)
    }

    /// The configuration of a run that does nothing but tell.
    pub(super) fn plugin_alone(&mut self, name: &str) -> Vec<SyncConfig> {
        let top = self.document.root_element();
        let Some(plugin) = self.plugin_named(top, name) else { return Vec::new() };
        let own = self.described(name).and_then(|node| child(node, "localpath"));
        let Some(local) = own.or_else(|| self.element("sersync/localpath")) else {
            self.wrong(top, "there is no <localpath watch=...>: nothing to watch".into());
            return Vec::new();
        };
        let Some(source) = self.attribute(local, "watch") else { return Vec::new() };
        let mut sync = SyncConfig { contents: true, ..SyncConfig::new(&source, b"") };
        sync.name = format!("plugin {name}");
        sync.options.filters = self.filters();
        sync.delete = self.on("inotify/delete", true);
        sync.skip_first = true;
        sync.plugin = Some(Plugin { alone: true, ..plugin });
        vec![sync]
    }

    /// The element that describes a plugin.
    fn described(&self, name: &str) -> Option<Node<'a, 'a>> {
        let mut all = self.document.root_element().children();
        all.find(|n| n.has_tag_name("plugin") && n.attribute("name") == Some(name))
    }

    fn plugin_named(&mut self, asked: Node<'a, 'a>, name: &str) -> Option<Plugin> {
        if !matches!(name, "command" | "socket") {
            let text = format!("the plugin \"{name}\" is not done here: command and socket are");
            self.refused(asked, text);
            return None;
        }
        let Some(node) = self.described(name) else {
            self.wrong(asked, format!("there is no <plugin name=\"{name}\"> that describes it"));
            return None;
        };
        let to = match name {
            "command" => self.command(node)?,
            _ => self.socket(node)?,
        };
        Some(Plugin { to, only: self.included(node), alone: false })
    }

    fn command(&mut self, node: Node<'a, 'a>) -> Option<PluginTo> {
        let Some(param) = child(node, "param") else {
            self.wrong(node, "<plugin> has no <param prefix=...>: nothing to run".into());
            return None;
        };
        self.attribute(param, "prefix")?;
        let mut words = |name: &str| {
            let text = param.attribute(name).unwrap_or_default();
            if text.contains(SHELL) {
                let text = format!(
                    "{name}=\"{text}\" needs a shell, and none comes between a path and a program \
                     here; write a script that does it"
                );
                self.refused(param, text);
            }
            text.split_whitespace().map(|word| self.bytes(word)).collect::<Vec<_>>()
        };
        let (before, after) = (words("prefix"), words("suffix"));
        if before.is_empty() {
            self.wrong(param, "prefix names no program".into());
            return None;
        }
        let ignore_error = param.attribute("ignoreError") == Some("true");
        Some(PluginTo::Command { before, after, ignore_error })
    }

    fn socket(&mut self, node: Node<'a, 'a>) -> Option<PluginTo> {
        let local = child(node, "localpath").unwrap_or(node);
        let Some(host) = child(local, "deshost").or_else(|| child(node, "deshost")) else {
            self.wrong(node, "<plugin> has no <deshost ip=... port=...>: nobody to tell".into());
            return None;
        };
        let ip = self.attribute(host, "ip")?;
        let port = self.number(host, "port", 65_535)?;
        let host = String::from_utf8_lossy(&ip).into_owned();
        Some(PluginTo::Socket { host, port: u16::try_from(port).unwrap_or(u16::MAX) })
    }

    /// The names that are told where a plugin's filter is started.
    fn included(&mut self, node: Node<'a, 'a>) -> Vec<FilterArg> {
        let filter = child(node, "filter").filter(|n| n.attribute("start") == Some("true"));
        let Some(filter) = filter else { return Vec::new() };
        let mut only = Vec::new();
        for node in filter.children().filter(|n| n.has_tag_name("include")).collect::<Vec<_>>() {
            let Some(expression) = node.attribute("expression") else { continue };
            match patterns(expression) {
                Some(patterns) => {
                    only.extend(patterns.iter().map(|p| FilterArg::Exclude(self.bytes(p))));
                }
                None => self.refuse_expression(node, expression, ""),
            }
        }
        if only.is_empty() && self.errors.is_empty() {
            self.remark(filter, "no <include> names anything: every path is told".into());
        }
        only
    }
}

fn child<'a>(node: Node<'a, 'a>, name: &str) -> Option<Node<'a, 'a>> {
    node.children().find(|child| child.has_tag_name(name))
}

/// What a shell would act on.
const SHELL: &[char] =
    &['|', '&', ';', '<', '>', '(', ')', '$', '`', '\\', '"', '\'', '*', '?', '[', '#', '~'];
