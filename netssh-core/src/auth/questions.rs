//! Decides which keyboard-interactive questions ask for the password.
//!
//! Only a question of a known form gets the password. A deny-list would send the password to every
//! question that it misses. The forms are those of PAM (Linux, including its translations; FreeBSD:
//! `Password for user@host:`; AIX: `user's Password:`), of OpenSSH (`user@host's password:`,
//! `(user@host) Password:`), and of AAA servers (`TACACS Password:`, `Enter your password`).

use std::sync::LazyLock;

use regex::Regex;

use crate::platform::Pattern;

/// The texts of an authentication request that accompany its questions.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Texts<'a> {
    pub(super) name: &'a str,
    pub(super) instructions: &'a str,
}

/// A keyboard-interactive question.
#[derive(Debug, Clone, Copy)]
pub(super) struct Question<'a> {
    texts: Texts<'a>,
    prompt: &'a str,
    /// Whether the server asks to show the answer.
    echo: bool,
}

/// The kind of answer that a question asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// The password of the user.
    Password,
    /// A password by its form, but the answer would be shown.
    ShownPassword,
    /// A password by its form, but the surrounding text asks for a code or a token.
    AnotherFactor,
    /// A new password, or the old one during a password change.
    PasswordChange,
    /// Anything else.
    Other,
}

impl<'a> Question<'a> {
    pub(super) const fn new(texts: Texts<'a>, prompt: &'a str, echo: bool) -> Self {
        Self {
            texts,
            prompt,
            echo,
        }
    }

    /// Returns the line with the question. PAM puts its messages before the question in the same
    /// prompt; some servers leave the prompt empty and ask in the instructions.
    pub(super) fn line(&self) -> &'a str {
        [self.prompt, self.texts.instructions, self.texts.name]
            .into_iter()
            .find_map(last_line)
            .unwrap_or_default()
    }

    /// Returns the other texts of the request, line by line.
    pub(super) fn context(&self) -> String {
        let line = self.line();
        let mut lines: Vec<&str> = [self.texts.name, self.texts.instructions, self.prompt]
            .into_iter()
            .flat_map(lines)
            .collect();
        if let Some(at) = lines.iter().rposition(|other| *other == line) {
            lines.remove(at);
        }
        lines.dedup();
        lines.join("\n")
    }

    /// Returns whether a pattern matches the whole prompt or the line with the question.
    pub(super) fn matches(&self, pattern: &Pattern) -> bool {
        let line = self.line();
        // A pattern may end with the space that most prompts end with.
        pattern.matches(self.prompt) || pattern.matches(line) || pattern.matches(line.trim())
    }

    /// Classifies the question for the given user names. `own` contains the platform's patterns for
    /// its password question.
    pub(super) fn kind(&self, names: &[&str], own: &[Pattern]) -> Kind {
        let line = self.line();
        let is_own = own.iter().any(|pattern| self.matches(pattern));
        if !is_own && CHANGE.is_match(line) {
            return Kind::PasswordChange;
        }
        if !is_own && !is_password_form(line, names) {
            let context = self.context();
            // For example `Enter it again:` under the title `Password expired`.
            let changes = CHANGE_AROUND.is_match(&context);
            return match changes && ABOUT_PASSWORD_CHANGE.is_match(line) {
                true => Kind::PasswordChange,
                false => Kind::Other,
            };
        }
        if self.echo {
            return Kind::ShownPassword;
        }
        if is_own {
            return Kind::Password;
        }
        let context = self.context();
        if CHANGE_AROUND.is_match(&context) {
            Kind::PasswordChange
        } else if FACTOR_AROUND.is_match(&context) {
            Kind::AnotherFactor
        } else {
            Kind::Password
        }
    }
}

/// Returns whether a line asks in a known form for the password of a user with one of these names.
fn is_password_form(line: &str, names: &[&str]) -> bool {
    /// Maximum length of a question.
    const CHARACTERS: usize = 200;
    if line.chars().count() > CHARACTERS {
        return false;
    }
    // The user may be named `password`.
    FORM.is_match(&normalised(line, names)) || FORM.is_match(&normalised(line, &[]))
}

/// Returns the line in lower case, with single spaces, without its final colon, and with `@` in
/// place of the user's name (`admin`, `admin@router1`, `CORP\admin`, in quotes or brackets).
fn normalised(line: &str, names: &[&str]) -> String {
    const QUOTES: [char; 10] = ['\'', '"', '`', '´', '‘', '’', '“', '”', '«', '»'];
    let line = line.trim().trim_end_matches(|character: char| {
        character.is_whitespace() || matches!(character, ':' | '：' | '>' | '?' | '？')
    });
    let is_user = |word: &str| {
        let word = word.trim_matches(QUOTES);
        let account = word.split_once('@').map_or(word, |(account, _)| account);
        let account = account
            .rsplit_once('\\')
            .map_or(account, |(_, account)| account);
        !account.is_empty()
            && names
                .iter()
                .any(|name| name.to_lowercase() == account.to_lowercase())
    };
    let words = line.split_whitespace().map(|word| {
        if let Some(inner) = word
            .strip_prefix('(')
            .and_then(|word| word.strip_suffix(')'))
        {
            return match is_user(inner) {
                true => "(@)".to_owned(),
                false => word.to_lowercase(),
            };
        }
        let owner = word.strip_suffix("'s").or_else(|| word.strip_suffix("’s"));
        match owner {
            Some(owner) if is_user(owner) => "@'s".to_owned(),
            _ if is_user(word) => "@".to_owned(),
            _ => word.to_lowercase(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

/// Questions for the password, as [`normalised`] returns them.
static FORM: LazyLock<Regex> = LazyLock::new(|| {
    let before = r"(?:please )?(?:(?:enter|type|type in|input|provide|supply|give) )?";
    let whose = r"(?:(?:your|the|my|user|user's|@|@'s|the user's) )?";
    // The system that checks the password, or the kind of account.
    let of_what = [
        "login",
        "logon",
        "log-in",
        "account",
        "user",
        "ssh",
        "unix",
        "linux",
        "system",
        "local",
        "network",
        "remote",
        "domain",
        "windows",
        "ad",
        "active directory",
        "ldap",
        "nis",
        r"kerberos(?: 5)?",
        "krb5",
        "radius",
        r"tacacs\+?",
        "aaa",
        "pam",
        "sso",
        "cli",
        "console",
    ];
    let of_what = format!("(?:(?:{}) ){{0,2}}", of_what.join("|"));
    let word = "(?:password|passwd|pass word|first factor|passwort|kennwort|mot de passe|contraseña\
        |contrasenya|senha|palavra-passe|parola|parola d'ordine|wachtwoord|lösenord|adgangskode\
        |passord|salasana|hasło|heslo|jelszó|geslo|lozinka|zaporka|şifre|sandi|kata sandi|mật khẩu\
        |пароль|парола|лозинка|κωδικός πρόσβασης|סיסמה|كلمة المرور|كلمة السر|รหัสผ่าน\
        |パスワード|パスワードを入力してください|암호|비밀번호|비밀번호를 입력하세요)";
    let chinese = "(?:请|請)?(?:输入|輸入)?(?:您的|你的)?(?:用户|用戶|登录|登錄|登陆|账号|账户)?(?:的)?(?:密码|密碼|口令)";
    let whom = r"(?: (?:for|of|für|von|pour|para|de|do|dla|för|voor|для) (?:(?:the )?(?:user|account|login|benutzer) )?@)?";
    let host = r"(?: (?:on|at|auf|sur|en) \S+)?";
    let translated_verbs = "(?:(?:bitte )?(?:ihr |das )?|(?:entrez |saisissez )?(?:votre |le )?\
        |(?:introduzca |ingrese )?(?:su |la )?|(?:digite )?(?:a |sua )?|введите )?";
    let form = format!(
        r"^(?:\(@\) )?(?:{before}{whose}{of_what}{word}{whom}{host}|{translated_verbs}{word}{whom}{host}|{chinese})$"
    );
    Regex::new(&form).expect("tests match the pattern")
});

/// Lines that ask for a new password, or for the old one during a password change.
static CHANGE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix)
        \b(?:new|old|current|previous|existing)\b [^\n]{0,20} \b(?:pass\ ?word|passwd|passphrase)
        | \(current\)
        | \b(?:re-?type|re-?enter|retype|repeat|confirm|verify|reenter)\b [^\n]{0,30} \bpass(?:word|wd)
        | \bpassword\b [^\n]{0,20} \b(?:again|confirmation)\b
        | \b(?:change|reset|update|choose|set|create)\b [^\n]{0,20} \bpassword
        | \bpassword\b [^\n]{0,40} \b(?:has|have|is|was)?\ ?expired
        | \bpassword\b [^\n]{0,20} \bmust\ be\ changed
        | (?:neues|altes|aktuelles|bisheriges)\ (?:passwort|kennwort)
        | (?:nouveau|ancien)\ mot\ de\ passe
        | (?:nueva|antigua|actual)\ contraseña | contraseña\ (?:nueva|actual|antigua)
        | (?:nova|antiga)\ senha | (?:новый|старый|текущий)\ пароль
        | [新旧舊原](?:的)?(?:密码|密碼|口令) | 修改密码 | 確認密碼 | 确认密码
        ",
    )
    .expect("tests match the pattern")
});

/// Texts that indicate a password change. A warning that the password will expire does not.
static CHANGE_AROUND: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?ix)
        \bnew\ password
        | \bpassword\b [^\n]{0,40} \b(?:has|have|is)?\ ?expired
        | \bexpired\ password
        | \bpassword\ (?:change|update|reset)\b
        | \b(?:must|required\ to|have\ to|need\ to)\ (?:now\ )?(?:change|reset|update)\b [^\n]{0,20} \bpassword
        | \bpassword\b [^\n]{0,20} \bmust\ be\ changed
        | \bchanging\ password
        ",
    )
    .expect("tests match the pattern")
});

/// Further questions of a password change: `Enter it again:`, `Old:`.
static ABOUT_PASSWORD_CHANGE: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?i)\b(?:again|old|new|current|confirm|verify|repeat|re-?type|re-?enter|password)\b",
    )
    .expect("tests match the pattern")
});

/// Texts that ask for a factor other than the password. A banner may contain a word such as
/// `token`, so a single word is not enough.
static FACTOR_AROUND: LazyLock<Regex> = LazyLock::new(|| {
    Regex::new(
        r"(?imx)
        \b(?:enter|type|input|provide|supply|give|use|append|add|followed\ by|respond|reply|submit|send)\b
            [^.\n]{0,60} \b(?:code|tokencode|token|otp|totp|passcode|pin|response|one[\ -]?time|yubikey)\b
        | \bone[\ -]?time\ pass(?:word|code)
        | \bchallenge\b\W{0,3}(?:is\b|code\b|:|[\[('\x22]|\d)
        | \b(?:verification|security|authentication|access|sms|token)\ code\b\W*$
        | \b(?:otp|passcode)\b\W*$
        | 动态(?:密码|口令|码) | 動態密碼 | 验证码 | 驗證碼
        ",
    )
    .expect("tests match the pattern")
});

fn lines(text: &str) -> impl DoubleEndedIterator<Item = &str> {
    text.split(['\n', '\r'])
        .filter(|line| !line.trim().is_empty())
}

fn last_line(text: &str) -> Option<&str> {
    lines(text).next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind_of(name: &str, instructions: &str, prompt: &str) -> Kind {
        let texts = Texts { name, instructions };
        Question::new(texts, prompt, false).kind(&["admin"], &[])
    }

    #[test]
    fn questions_of_a_known_form_ask_for_the_password() {
        for prompt in [
            "Password: ",
            "password:",
            "PASSWORD :",
            "Password",
            "Password>",
            "(admin@router1) Password: ",
            "(admin@192.0.2.1) Password for admin@router1:",
            "admin@router1's password: ",
            "admin's Password: ",
            "admin@router1 password:",
            "admin password:",
            "Password for admin@bsd.example.net:",
            "Password for admin:",
            "Password for user admin: ",
            "Password for 'admin':",
            "Password for \"admin\" on router1:",
            "Password of user CORP\\admin:",
            "Enter password:",
            "Enter Password : ",
            "Enter your password:",
            "Enter your password",
            "Please enter your password: ",
            "Please enter the password for user admin:",
            "Enter login password:",
            "Enter PASSWORD:",
            "UNIX password: ",
            "LDAP Password: ",
            "TACACS Password: ",
            "TACACS+ Password:",
            "RADIUS password:",
            "AAA Password:",
            "Local Password:",
            "Domain password:",
            "Kerberos 5 Password: ",
            "Login password:",
            "User Password:",
            "First Factor: ",
            "Passwort: ",
            "Passwort für admin@fw1: ",
            "Kennwort:",
            "Bitte Ihr Passwort:",
            "Mot de passe : ",
            "Mot de passe\u{a0}: ",
            "Entrez votre mot de passe :",
            "Contraseña: ",
            "Introduzca su contraseña:",
            "Senha: ",
            "Wachtwoord: ",
            "Lösenord: ",
            "Hasło: ",
            "Пароль: ",
            "ПАРОЛЬ:",
            "Введите пароль:",
            "密码：",
            "密码:",
            "密碼：",
            "口令:",
            "请输入密码：",
            "请输入用户密码:",
            "パスワード: ",
            "암호: ",
            "Authorized users only.\r\n\r\nPassword: ",
            "Last failed login: Mon Nov 30\nThere were 3 failed login attempts.\nPassword: ",
        ] {
            assert_eq!(kind_of("", "", prompt), Kind::Password, "{prompt:?}");
        }
    }

    #[test]
    fn questions_of_another_form_do_not_ask_for_the_password() {
        for prompt in [
            "",
            ":",
            "Passcode:",
            "Enter PASSCODE:",
            "PIN:",
            "Enter your PIN: ",
            "Verification code: ",
            "Password & verification code: ",
            "Password and token:",
            "Password + OTP:",
            "Enter your password followed by your token code:",
            "One-time password (OATH) for `admin': ",
            "One-time password:",
            "OTP:",
            "OTP Password:",
            "Token password:",
            "Enter token:",
            "Second Factor (optional): ",
            "Second password:",
            "Response: ",
            "otp-md5 98 host1 ext, Response:",
            "Duo two-factor login for admin\n\nEnter a passcode or select one of the following options:\n\n 1. Push\n\nPasscode or option (1-3): ",
            "YubiKey for `admin': ",
            "Do you accept the terms of use (yes/no)? ",
            "Do you accept the password policy (yes/no)?",
            "Is this your password? (yes/no):",
            "Select a role [1-3]: ",
            "Username: ",
            "login: ",
            "Domain:",
            "Enable password:",
            "Enter enable secret:",
            "Password for root:",
            "root@router1's password: ",
            "(root@10.0.0.9) Password:",
            "Password for key /root/.ssh/id_rsa:",
            "Enter passphrase for key 'admin':",
            "Passphrase:",
            "Password hint:",
            "Security question: password of your first account?",
            "Password: Domain:",
            "The password policy is strict",
            "动态密码:",
            "动态口令：",
            "验证码:",
            "Unlock password vault:",
            "Temporary password:",
            "Backup password:",
        ] {
            assert_eq!(kind_of("", "", prompt), Kind::Other, "{prompt:?}");
        }
    }

    #[test]
    fn a_question_for_a_new_password_is_a_password_change() {
        for prompt in [
            "New password: ",
            "New Password:",
            "Enter new password: ",
            "Enter new UNIX password: ",
            "Retype new password: ",
            "Re-enter new password:",
            "Re-enter password:",
            "Confirm password:",
            "Verify password:",
            "Password again:",
            "Old password:",
            "Current password: ",
            "(current) UNIX password: ",
            "Enter old password:",
            "Change your password now (yes/no)?",
            "Your password has expired. Choose a new password:",
            "Your password has expired, change now? [y/N]:",
            "Password expired.",
            "Neues Passwort:",
            "Nouveau mot de passe :",
            "Nueva contraseña:",
            "新密码:",
            "WARNING: Your password has expired.\nYou must change your password now and login again!\nCurrent password: ",
        ] {
            assert_eq!(kind_of("", "", prompt), Kind::PasswordChange, "{prompt:?}");
        }
        for (name, instructions, prompt) in [
            (
                "Password Expired",
                "Your password has expired.",
                "Enter it again: ",
            ),
            ("", "You must change your password now.", "Password: "),
            (
                "",
                "You are required to change your password immediately.",
                "Password: ",
            ),
            ("", "Enter a new password", "Password:"),
            ("Changing password for admin", "", "Password:"),
        ] {
            let kind = kind_of(name, instructions, prompt);
            assert_eq!(
                kind,
                Kind::PasswordChange,
                "{name:?} {instructions:?} {prompt:?}"
            );
        }
    }

    #[test]
    fn the_texts_around_a_question_may_ask_for_something_else() {
        for (name, instructions) in [
            ("", "Enter the code shown on your token"),
            ("", "Enter your one-time password"),
            ("CRYPTOCard Authentication", "The challenge is '14315716'"),
            ("Verification code", ""),
            (
                "",
                "Wait for the token to change, then enter the new tokencode:",
            ),
            ("OTP:", ""),
            ("", "Please type your PIN"),
            ("", "请输入验证码"),
        ] {
            let kind = kind_of(name, instructions, "Password: ");
            assert_eq!(kind, Kind::AnotherFactor, "{name:?} {instructions:?}");
        }
        for (name, instructions) in [
            ("Password Authentication", ""),
            (
                "PAM Authentication",
                "Using keyboard-interactive authentication.",
            ),
            (
                "",
                "Unauthorized access is prohibited. Access codes are issued by the help desk.",
            ),
            ("", "This system is protected by two-factor authentication."),
            ("", "Your password will expire in 5 days."),
            ("", "Password:"),
            (
                "admin@router1",
                "Authorized use only; challenge us at 555-0100",
            ),
        ] {
            let kind = kind_of(name, instructions, "Password: ");
            assert_eq!(kind, Kind::Password, "{name:?} {instructions:?}");
        }
    }

    #[test]
    fn an_empty_prompt_asks_in_the_instructions() {
        assert_eq!(kind_of("", "Enter your password:", ""), Kind::Password);
        assert_eq!(kind_of("", "Enter your passcode:", " "), Kind::Other);
    }

    #[test]
    fn a_shown_answer_is_not_the_password() {
        let question = Question::new(Texts::default(), "Password: ", true);
        assert_eq!(question.kind(&["admin"], &[]), Kind::ShownPassword);
    }

    #[test]
    fn a_platform_names_further_questions_for_the_password() {
        let own = [Pattern::new("^Ops word: $").unwrap()];
        let kind =
            |prompt, echo| Question::new(Texts::default(), prompt, echo).kind(&["admin"], &own);
        assert_eq!(kind("Ops word: ", false), Kind::Password);
        assert_eq!(kind("Notice.\nOps word: ", false), Kind::Password);
        assert_eq!(kind("Ops word: ", true), Kind::ShownPassword);
        assert_eq!(kind("Ops words: ", false), Kind::Other);
    }

    #[test]
    fn a_user_name_that_is_a_word_of_a_form_changes_no_other_form() {
        let kind = |user, prompt| Question::new(Texts::default(), prompt, false).kind(&[user], &[]);
        assert_eq!(kind("new", "New password:"), Kind::PasswordChange);
        assert_eq!(kind("password", "Password:"), Kind::Password);
        assert_eq!(kind("enter", "Enter password:"), Kind::Password);
        assert_eq!(kind("your", "Enter your password:"), Kind::Password);
    }
}
