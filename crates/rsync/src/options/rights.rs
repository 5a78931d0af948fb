//! What one side of a transfer may do as the super-user, and what it does with devices.
//!
//! Fields of the options; `parse` sets them. Nothing here looks at the process.

use super::table::Opt;

/// `--super`, `--no-super`, `--fake-super`: whether the receiving side acts as the super-user.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum SuperUser {
    /// If it is.
    #[default]
    AsIs,
    /// It tries, whoever it is.
    Assumed,
    /// Never.
    Denied,
    /// `--fake-super`: what it may not do itself it keeps in extended attributes.
    Faked,
}

impl SuperUser {
    /// Whether to act as the super-user in a process that is root or not.
    pub fn is_super(self, root: bool) -> bool {
        match self {
            SuperUser::AsIs => root,
            SuperUser::Assumed | SuperUser::Faked => true,
            SuperUser::Denied => false,
        }
    }
}

/// The rights of one side.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Rights {
    /// `--super`, `--no-super`, `--fake-super`, whichever came last.
    pub super_user: SuperUser,
    /// `--copy-devices`: the sending side lists devices as files with their content.
    pub copy_devices: bool,
    /// `--write-devices`: the receiving side writes into devices, in place.
    pub write_devices: bool,
    /// `--drop-D`: the receiving side makes no devices and specials.
    pub drop_devices: bool,
}

impl Rights {
    /// Whether privileged attributes are kept in extended attributes.
    pub fn fakes(&self) -> bool {
        self.super_user == SuperUser::Faked
    }

    /// What a daemon makes of a client's wish: only the module can have attributes faked.
    pub fn serve(&mut self, faking: bool) {
        match self.super_user {
            _ if faking => self.super_user = SuperUser::Faked,
            SuperUser::Faked => self.super_user = SuperUser::Assumed,
            _ => {}
        }
    }

    /// Sets a flag that is one of these.
    pub(super) fn apply(&mut self, opt: Opt, on: bool) {
        match opt {
            Opt::Super => {
                self.super_user = if on { SuperUser::Assumed } else { SuperUser::Denied };
            }
            Opt::FakeSuper => self.super_user = SuperUser::Faked,
            Opt::CopyDevices => self.copy_devices = on,
            Opt::WriteDevices => self.write_devices = on,
            Opt::DropDevices => self.drop_devices = on,
            _ => {}
        }
    }
}
