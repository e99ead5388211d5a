/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of commands as a document: {commands: [{command, noun, verb, synopsis, help, text, examples, columns,
 * arguments: [{name, optional, many}], options: [OPTION]}], options: [OPTION of every command]}, where OPTION is
 * {name, letter, value, many, help}. What is not there is null; what this version refuses is left out. */
#include <string.h>

#include "nouns.h"

static void set_text(JsonObject *object, const char *key, const char *text)
{
    if (text)
        json_object_set_string_member(object, key, text);
    else
        json_object_set_null_member(object, key);
}

static JsonArray *set_array(JsonObject *object, const char *key)
{
    JsonArray *array = json_array_new();

    json_object_set_array_member(object, key, array);
    return array;
}

static void add_option(JsonArray *options, const VvOption *option)
{
    JsonObject *item = json_object_new();
    const char letter[] = { option->letter, '\0' };

    set_text(item, "name", option->name);
    set_text(item, "letter", option->letter ? letter : NULL);
    set_text(item, "value", option->metavar);
    json_object_set_boolean_member(item, "many", option->flags & VV_MANY ? TRUE : FALSE);
    set_text(item, "help", option->help);
    json_array_add_object_element(options, item);
}

static void add_arguments(JsonObject *item, const VvCommand *command)
{
    JsonArray *arguments = set_array(item, "arguments");

    for (unsigned i = 0; i < VV_ARGUMENTS_MAX && command->arguments[i].name; i++) {
        const VvArgument *a = &command->arguments[i];
        JsonObject *argument = json_object_new();

        set_text(argument, "name", a->name);
        json_object_set_boolean_member(argument, "optional", a->flags & VV_OPTIONAL ? TRUE : FALSE);
        json_object_set_boolean_member(argument, "many", a->flags & VV_MANY ? TRUE : FALSE);
        json_array_add_object_element(arguments, argument);
    }
}

static void add_command(JsonArray *commands, const VvCommand *command)
{
    JsonObject *item = json_object_new();
    g_autofree char *name = vv_command_name(command);
    g_autofree char *synopsis = vv_command_synopsis(command);
    const VvOption *option;
    JsonArray *array;

    set_text(item, "command", name);
    set_text(item, "noun", command->noun);
    set_text(item, "verb", command->verb);
    set_text(item, "synopsis", synopsis);
    set_text(item, "help", command->help);
    set_text(item, "text", command->text);
    set_text(item, "examples", command->examples);
    array = set_array(item, "columns");
    for (const VvColumn *c = command->flags & VV_COMMAND_LIST ? command->columns : NULL; c && c->key; c++)
        json_array_add_string_element(array, c->key);
    add_arguments(item, command);
    array = set_array(item, "options");
    for (unsigned i = 0; (option = vv_command_option(command, i, false)); i++)
        add_option(array, option);
    json_array_add_object_element(commands, item);
}

void vv_help_print_json(const char *noun, const char *verb)
{
    g_autoptr(JsonObject) document = json_object_new();
    JsonArray *commands = set_array(document, "commands");
    JsonArray *options = set_array(document, "options");

    for (const VvCommand *c = vv_commands; c->noun; c++)
        if (!noun || (strcmp(c->noun, noun) == 0 && (!verb || g_strcmp0(c->verb, verb) == 0)))
            add_command(commands, c);
    for (const VvOption *option = vv_global_options; option->name; option++)
        add_option(options, option);
    vv_json_print_object(document);
}
