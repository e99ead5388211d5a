/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What shells and manuals get from the table. The scripts have a fixed frame and, made here, one case for each command:
 * its options, and what its words are ("lun", "snapshot", "disk", "job", "file" or nothing); the value of an option is a
 * file, or a list of disks ("disks"). */
#include <stdio.h>
#include <string.h>

#include "nouns.h"

static const char *word_kind(VvValueType type)
{
    switch (type) {
    case VV_VALUE_LUN:
        return "lun";
    case VV_VALUE_SNAPSHOT:
    case VV_VALUE_PATTERN:
        return "snapshot";
    case VV_VALUE_OBJECT:
        return "object";
    case VV_VALUE_DISK:
        return "disk";
    case VV_VALUE_JOB:
        return "job";
    case VV_VALUE_PATH:
        return "file";
    default:
        return "";
    }
}

/* The kind of the command's first word: nearly always that of the others. Names to be made have none. */
static const char *command_kind(const VvCommand *command)
{
    if (g_strcmp0(command->verb, "create") == 0 && strcmp(command->noun, "lun") == 0)
        return "";
    if (g_strcmp0(command->noun, "job") == 0)
        return "job";
    return command->arguments[0].name ? word_kind(command->arguments[0].type) : "";
}

static void append_word(GString *out, const char *word)
{
    if (out->len > 0)
        g_string_append_c(out, ' ');
    g_string_append(out, word);
}

/* "--copies --stripes -o", of the command and of every command. Newly allocated. */
static char *option_words(const VvCommand *command)
{
    g_autoptr(GString) out = g_string_new(NULL);
    const VvOption *option;

    for (unsigned i = 0; command && (option = vv_command_option(command, i, false)); i++) {
        g_autofree char *word =
            option->name ? g_strdup_printf("--%s", option->name) : g_strdup_printf("-%c", option->letter);

        append_word(out, word);
    }
    for (option = vv_global_options; option->name; option++) {
        g_autofree char *word = g_strdup_printf("--%s", option->name);

        append_word(out, word);
    }
    return g_string_free(g_steal_pointer(&out), FALSE);
}

static bool takes_disks(const VvOption *option)
{
    return option->type == VV_VALUE_DISK && option->flags & VV_COMMAS;
}

/* All options that take a value, as a pattern "--copies|-o"; or only those that take a list of disks. Newly allocated. */
static char *value_options(bool disks)
{
    g_autoptr(GHashTable) seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    g_autoptr(GString) out = g_string_new(disks ? NULL : "-p|--pool|--id|--timeout|--color");

    for (const VvCommand *c = vv_commands; c->noun; c++) {
        const VvOption *option;

        for (unsigned i = 0; (option = vv_command_option(c, i, false)); i++) {
            char *word = option->name ? g_strdup_printf("--%s", option->name) : g_strdup_printf("-%c", option->letter);

            if (!option->metavar || (disks && !takes_disks(option))) {
                g_free(word);
                continue;
            }
            if (g_hash_table_add(seen, word))
                g_string_append_printf(out, "%s%s", out->len > 0 ? "|" : "", word);
        }
    }
    return g_string_free(g_steal_pointer(&out), FALSE);
}

/* All nouns; or with @noun its verbs. Newly allocated. */
static char *words_after(const char *noun)
{
    g_autoptr(GString) out = g_string_new(NULL);
    const char *last = "";

    for (const VvCommand *c = vv_commands; c->noun; c++) {
        if (noun && strcmp(c->noun, noun) == 0 && c->verb)
            append_word(out, c->verb);
        else if (!noun && strcmp(c->noun, last) != 0)
            append_word(out, c->noun);
        last = c->noun;
    }
    return g_string_free(g_steal_pointer(&out), FALSE);
}

/* The function that bash and zsh share: from the words before the one being typed, sets _vv_words and _vv_kind. */
static void print_shell_table(void)
{
    g_autofree char *values = value_options(false), *disks = value_options(true);
    g_autofree char *nouns = words_after(NULL);
    g_autofree char *globals = option_words(NULL);
    const char *last = "";

    printf("_vvfs_admin_table()\n{\n    local noun= verb= word skip=\n    _vv_words= _vv_kind= _vv_options='%s'\n",
        globals);
    printf(
        "    for word in \"$@\"; do\n        if [ -n \"$skip\" ]; then skip=; continue; fi\n        case $word in\n"
        "        %s) skip=$word ;;\n        -*) ;;\n        snap) [ -z \"$noun\" ] && noun=snapshot || verb=${verb:-$word} "
        ";;\n"
        "        ls) verb=${verb:-list} ;;\n        rm) verb=${verb:-remove} ;;\n        mv) verb=${verb:-rename} ;;\n"
        "        *) if [ -z \"$noun\" ]; then noun=$word; elif [ -z \"$verb\" ]; then verb=$word; fi ;;\n        "
        "esac\n    done\n",
        values);
    printf("    case $skip in '') ;; %s) _vv_kind=disks; return ;; *) _vv_kind=file; return ;; esac\n", disks);
    printf("    if [ -z \"$noun\" ]; then _vv_words='%s'; return; fi\n    case $noun in\n", nouns);
    for (const VvCommand *c = vv_commands; c->noun; c++) {
        g_autofree char *verbs = words_after(c->noun);

        if (c->verb && strcmp(c->noun, last) != 0)
            printf("    %s) if [ -z \"$verb\" ]; then _vv_words='%s'; return; fi ;;\n", c->noun, verbs);
        last = c->noun;
    }
    printf("    esac\n    case \"$noun $verb\" in\n");
    for (const VvCommand *c = vv_commands; c->noun; c++) {
        g_autofree char *options = option_words(c);

        printf("    '%s '%s) _vv_options='%s' _vv_kind=%s ;;\n", c->noun, c->verb ? c->verb : "*", options,
            command_kind(c));
    }
    printf("    esac\n");
    printf("    case $noun in help) [ -z \"$verb\" ] && _vv_words='%s' ;; esac\n}\n\n", nouns);
    printf(
        "# What objects there are: asked of the pool, silently.\n_vvfs_admin_objects()\n{\n    case $1 in\n"
        "    lun) vvfs-admin lun list -H -o name --timeout 2 ;;\n    snapshot) vvfs-admin snapshot list -H -o object "
        "--timeout 2 ;;\n"
        "    object) vvfs-admin lun list -H -o name --timeout 2; vvfs-admin snapshot list -H -o object --timeout 2 ;;\n"
        "    disk | disks) vvfs-admin disk list -H -o name --timeout 2 ;;\n    job) vvfs-admin job list -H -o id --timeout 2 "
        ";;\n    esac 2>/dev/null\n}\n\n");
}

static void print_bash(void)
{
    puts("# bash completion for vvfs-admin, made by `vvfs-admin help --completion bash`\n"
         "# SPDX-License-Identifier: GPL-2.0-or-later\n");
    print_shell_table();
    /* Bash splits words at '@' and '=': the line is split here, and what stands before the last '@' is cut off again. */
    puts("_vvfs_admin()\n{\n"
         "    local _vv_words _vv_kind _vv_options cur line prefix\n"
         "    local -a before\n"
         "    line=${COMP_LINE:0:COMP_POINT}\n"
         "    read -r -a before <<<\"$line\"\n"
         "    cur=\n"
         "    if [[ $line != *[[:space:]] ]]; then cur=${before[-1]}; unset 'before[-1]'; fi\n"
         "    _vvfs_admin_table \"${before[@]:1}\"\n"
         "    COMPREPLY=()\n"
         "    if [[ $cur == -* ]]; then\n"
         "        mapfile -t COMPREPLY < <(compgen -W \"$_vv_options\" -- \"$cur\")\n"
         "    elif [[ -n $_vv_words ]]; then\n"
         "        mapfile -t COMPREPLY < <(compgen -W \"$_vv_words\" -- \"$cur\")\n"
         "    elif [[ $_vv_kind == file || $cur == */* ]]; then\n"
         "        mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
         "    elif [[ $_vv_kind == disks ]]; then\n"
         "        prefix=\n"
         "        if [[ $cur == *,* ]]; then prefix=${cur%,*},; fi\n"
         "        mapfile -t COMPREPLY < <(compgen -P \"$prefix\" -W \"$(_vvfs_admin_objects disks)\" -- \"${cur##*,}\")\n"
         "    elif [[ -n $_vv_kind ]]; then\n"
         "        mapfile -t COMPREPLY < <(compgen -W \"$(_vvfs_admin_objects \"$_vv_kind\")\" -- \"$cur\")\n"
         "        if [[ $cur == *@* && $COMP_WORDBREAKS == *@* ]]; then\n"
         "            prefix=${cur%@*}@\n"
         "            COMPREPLY=(\"${COMPREPLY[@]#\"$prefix\"}\")\n"
         "        fi\n"
         "    fi\n"
         "}\n"
         "complete -F _vvfs_admin vvfs-admin");
}

static void print_zsh(void)
{
    puts("#compdef vvfs-admin\n# zsh completion for vvfs-admin, made by `vvfs-admin help --completion zsh`\n"
         "# SPDX-License-Identifier: GPL-2.0-or-later\n");
    print_shell_table();
    puts("_vvfs_admin()\n{\n"
         "    local _vv_words _vv_kind _vv_options\n"
         "    _vvfs_admin_table \"${(@)words[2,CURRENT-1]}\"\n"
         "    if [[ $PREFIX == -* ]]; then\n"
         "        compadd -- ${=_vv_options}\n"
         "    elif [[ -n $_vv_words ]]; then\n"
         "        compadd -- ${=_vv_words}\n"
         "    elif [[ $_vv_kind == file || $PREFIX == */* ]]; then\n"
         "        _files\n"
         "    elif [[ $_vv_kind == disks ]]; then\n"
         "        compset -P '*,'\n"
         "        compadd -qS , -- ${(f)\"$(_vvfs_admin_objects disks)\"}\n"
         "    elif [[ -n $_vv_kind ]]; then\n"
         "        compadd -- ${(f)\"$(_vvfs_admin_objects $_vv_kind)\"}\n"
         "    fi\n"
         "}\n"
         "if [[ $funcstack[1] == _vvfs_admin ]]; then _vvfs_admin \"$@\"; else compdef _vvfs_admin vvfs-admin; fi");
}

static void print_fish_option(const char *condition, const VvOption *option)
{
    g_autofree char *name = option->name ? g_strdup_printf(" -l %s", option->name) : g_strdup("");
    g_autofree char *letter = option->letter ? g_strdup_printf(" -s %c", option->letter) : g_strdup("");
    g_autofree char *help = g_strescape(option->help, NULL);

    printf("complete -c vvfs-admin%s%s%s%s%s -d \"%s\"\n", condition, name, letter, option->metavar ? " -r" : "",
        takes_disks(option) ? " -a '(__fish_append , (vvfs-admin disk list -H -o name --timeout 2 2>/dev/null))'" : "",
        help);
}

static void print_fish(void)
{
    g_autofree char *nouns = words_after(NULL);
    const char *last = "";

    puts("# fish completion for vvfs-admin, made by `vvfs-admin help --completion fish`\n"
         "# SPDX-License-Identifier: GPL-2.0-or-later\ncomplete -c vvfs-admin -f");
    for (const VvOption *option = vv_global_options; option->name; option++)
        print_fish_option("", option);
    printf("complete -c vvfs-admin -n 'not __fish_seen_subcommand_from %s' -a '%s'\n", nouns, nouns);
    for (const VvCommand *c = vv_commands; c->noun; c++) {
        g_autofree char *verbs = words_after(c->noun);
        g_autofree char *condition = NULL;
        const VvOption *option;
        const char *kind = command_kind(c);

        if (c->verb && strcmp(c->noun, last) != 0)
            printf("complete -c vvfs-admin -n '__fish_seen_subcommand_from %s; and not __fish_seen_subcommand_from %s' "
                   "-a '%s'\n",
                c->noun, verbs, verbs);
        last = c->noun;
        condition = c->verb
                        ? g_strdup_printf(" -n '__fish_seen_subcommand_from %s; and __fish_seen_subcommand_from %s'",
                              c->noun, c->verb)
                        : g_strdup_printf(" -n '__fish_seen_subcommand_from %s'", c->noun);
        for (unsigned i = 0; (option = vv_command_option(c, i, false)); i++)
            print_fish_option(condition, option);
        if (strcmp(kind, "file") == 0)
            printf("complete -c vvfs-admin%s -F\n", condition);
        else if (strcmp(kind, "snapshot") == 0 || strcmp(kind, "object") == 0)
            printf("complete -c vvfs-admin%s -a '(vvfs-admin snapshot list -H -o object --timeout 2 2>/dev/null)'\n",
                condition);
        else if (*kind)
            printf("complete -c vvfs-admin%s -a '(vvfs-admin %s list -H -o %s --timeout 2 2>/dev/null)'\n", condition,
                kind, strcmp(kind, "job") == 0 ? "id" : "name");
    }
}

bool vv_completion_print(const char *shell, GError **error)
{
    if (strcmp(shell, "bash") == 0)
        print_bash();
    else if (strcmp(shell, "zsh") == 0)
        print_zsh();
    else if (strcmp(shell, "fish") == 0)
        print_fish();
    else {
        vv_set_error(
            error, VV_ERROR_USAGE, shell, NULL, "there are completions for bash, zsh and fish, not for `%s`", shell);
        return false;
    }
    return true;
}

/* ---- mdoc */

/* Text of the table as mdoc: a macro is not begun by it, and backslashes and quotes stay what they are. */
static void print_mdoc_text(const char *text)
{
    if (*text == '.' || *text == '\'')
        fputs("\\&", stdout);
    for (; *text; text++) {
        if (*text == '\\')
            fputs("\\e", stdout);
        else if (*text == '-')
            fputs("\\-", stdout);
        else
            putchar(*text);
        if (*text == '.' && text[1] == ' ') { /* a sentence, a line */
            putchar('\n');
            text++;
        }
    }
    putchar('\n');
}

static void print_mdoc_option(const char *macro, const VvOption *option)
{
    printf(".%s Fl ", macro);
    if (option->name)
        printf("-%s", option->name);
    else
        putchar(option->letter);
    if (option->metavar)
        printf(" Ar %s", option->metavar);
    putchar('\n');
}

static void print_mdoc_words(const VvCommand *command)
{
    printf("Cm %s%s%s\n", command->noun, command->verb ? " " : "", command->verb ? command->verb : "");
    for (unsigned i = 0; i < VV_ARGUMENTS_MAX && command->arguments[i].name; i++) {
        const VvArgument *a = &command->arguments[i];

        printf(".%sAr %s%s\n", a->flags & VV_OPTIONAL ? "Op " : "", a->name, a->flags & VV_MANY ? " ..." : "");
    }
}

static void print_mdoc_synopsis(const VvCommand *command)
{
    const VvOption *option;

    printf(".Nm\n.");
    print_mdoc_words(command);
    for (unsigned i = 0; (option = vv_command_option(command, i, false)); i++)
        print_mdoc_option("Op", option);
}

static void print_mdoc_item(const VvCommand *command)
{
    const VvOption *option;

    printf(".It Xo\n.");
    print_mdoc_words(command);
    puts(".Xc");
    printf("%c", g_ascii_toupper(command->help[0]));
    print_mdoc_text(command->help + 1);
    if (command->text) {
        puts(".Pp");
        print_mdoc_text(command->text);
    }
    if (!vv_command_option(command, 0, false))
        return;
    puts(".Bl -tag -width Ds");
    for (unsigned i = 0; (option = vv_command_option(command, i, false)); i++) {
        print_mdoc_option("It", option);
        print_mdoc_text(option->help);
    }
    puts(".El");
}

void vv_mdoc_print(const char *noun, bool list)
{
    if (list)
        puts(".Bl -tag -width Ds");
    for (const VvCommand *c = vv_commands; c->noun; c++) {
        if (noun && strcmp(noun, c->noun) != 0)
            continue;
        if (list)
            print_mdoc_item(c);
        else
            print_mdoc_synopsis(c);
    }
    if (list)
        puts(".El");
}
