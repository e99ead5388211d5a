/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "register.h"

#include <stdlib.h>
#include <string.h>

/* A call or a return, in a list by time from which what has been placed is taken out. */
typedef struct Event {
    struct Event *before, *after;
    struct Event *match; /* of a call: its return, NULL if it is open; of a return: NULL */
    uint64_t time_ns;
    uint32_t op;
    bool is_return;
} Event;

typedef struct {
    uint64_t low, high;
} Print; /* of a set of operations and a value: two sets that differ have the same with a probability of 2^-128 */

typedef struct {
    Event *call;
    uint64_t value_before;
    uint32_t group_before;
    bool forced; /* a read of what is there: placing it now forbids nothing, so there is no other way to try */
} Step;

typedef struct {
    const RegisterOp *ops;
    Event head;
    Event *events;
    Step *steps;
    size_t step_count, must_left;
    Print set;
    uint64_t value;
    uint32_t group;       /* of the value; of a value that no operation has: the number of groups */
    uint32_t *op_group;   /* of each operation: those with the same value */
    uint32_t *reads_left; /* of each group: not placed yet */
    bool *once;           /* of each group: its value does not come again once it is gone */
    Print *seen;          /* open addressing; 0,0 is empty */
    size_t seen_room, seen_count;
} Search;

static uint64_t mix(uint64_t z)
{
    z += UINT64_C(0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

static void toggle(Print *set, uint32_t op)
{
    set->low ^= mix(op * 2u + UINT64_C(0x100000001));
    set->high ^= mix(op * 2u + UINT64_C(0x200000002));
}

/* ---- what was tried */
static void put_seen(Print *table, size_t room, Print print)
{
    size_t i = print.low & (room - 1);

    while (table[i].low != 0 || table[i].high != 0)
        i = (i + 1) & (room - 1);
    table[i] = print;
}

static bool is_seen(const Search *s, Print print)
{
    size_t i = print.low & (s->seen_room - 1);

    for (; s->seen[i].low != 0 || s->seen[i].high != 0; i = (i + 1) & (s->seen_room - 1)) {
        if (s->seen[i].low == print.low && s->seen[i].high == print.high)
            return true;
    }
    return false;
}

/* False: no memory. */
static bool note_seen(Search *s, Print print)
{
    if (s->seen_count * 2 >= s->seen_room) {
        size_t room = s->seen_room * 2;
        Print *table = calloc(room, sizeof *table);
        if (table == NULL)
            return false;
        for (size_t i = 0; i < s->seen_room; i++) {
            if (s->seen[i].low != 0 || s->seen[i].high != 0)
                put_seen(table, room, s->seen[i]);
        }
        free(s->seen);
        s->seen = table;
        s->seen_room = room;
    }
    put_seen(s->seen, s->seen_room, print);
    s->seen_count++;
    return true;
}

/* ---- the list */
static void lift(Event *event)
{
    event->before->after = event->after;
    if (event->after)
        event->after->before = event->before;
}

static void unlift(Event *event)
{
    event->before->after = event;
    if (event->after)
        event->after->before = event;
}

static int by_time(const void *a, const void *b)
{
    const Event *x = a, *y = b;

    if (x->time_ns != y->time_ns)
        return x->time_ns < y->time_ns ? -1 : 1;
    if (x->is_return != y->is_return)
        return x->is_return ? 1 : -1; /* what touches may overlap */
    return x->op < y->op ? -1 : x->op > y->op;
}

/* @skip: those that are left out. False: no memory. */
static bool make_events(Search *s, size_t count, const bool *skip)
{
    size_t n = 0;
    Event **calls = calloc(count + 1, sizeof(Event *));

    s->events = calloc(2 * count + 1, sizeof(Event));
    if (calls == NULL || s->events == NULL) {
        free(calls);
        return false;
    }
    for (uint32_t i = 0; i < count; i++) {
        if (skip[i])
            continue;
        s->events[n++] = (Event){ .time_ns = s->ops[i].start_ns, .op = i };
        if (s->ops[i].end_ns != REGISTER_OPEN)
            s->events[n++] = (Event){ .time_ns = s->ops[i].end_ns, .op = i, .is_return = true };
    }
    qsort(s->events, n, sizeof(Event), by_time);
    Event *last = &s->head;
    for (size_t i = 0; i < n; i++) {
        Event *event = &s->events[i];
        last->after = event;
        event->before = last;
        last = event;
        if (!event->is_return) {
            calls[event->op] = event;
        } else {
            calls[event->op]->match = event;
            s->must_left++;
        }
    }
    free(calls);
    return true;
}

/* ---- the search */
static void take(Search *s, Event *call, bool forced)
{
    const RegisterOp *op = &s->ops[call->op];

    s->steps[s->step_count++] =
        (Step){ .call = call, .value_before = s->value, .group_before = s->group, .forced = forced };
    if (op->write) {
        s->value = op->value;
        s->group = s->op_group[call->op];
    } else {
        s->reads_left[s->group]--;
    }
    toggle(&s->set, call->op);
    lift(call);
    if (call->match) {
        lift(call->match);
        s->must_left--;
    }
}

static Step undo(Search *s)
{
    Step step = s->steps[--s->step_count];

    if (step.call->match) {
        unlift(step.call->match);
        s->must_left++;
    }
    unlift(step.call);
    toggle(&s->set, step.call->op);
    s->value = step.value_before;
    s->group = step.group_before;
    if (!s->ops[step.call->op].write)
        s->reads_left[s->group]++;
    return step;
}

static RegisterVerdict search(Search *s)
{
    Event *event = s->head.after;

    while (s->must_left > 0) {
        if (event == NULL || event->is_return) { /* it cannot be passed over: what was placed last goes elsewhere */
            Step step = { .forced = true };
            while (step.forced) {
                if (s->step_count == 0)
                    return REGISTER_BAD;
                step = undo(s);
            }
            event = step.call->after;
            continue;
        }
        const RegisterOp *op = &s->ops[event->op];
        if (!op->write) {
            if (op->value == s->value) {
                take(s, event, true);
                event = s->head.after;
            } else {
                event = event->after;
            }
            continue;
        }
        if (s->once[s->group] && s->reads_left[s->group] > 0) { /* who is still to read what is there never would */
            event = event->after;
            continue;
        }
        Print print = s->set;
        toggle(&print, event->op);
        print.low ^= mix(op->value ^ UINT64_C(0x5555555555555555));
        print.high ^= mix(op->value ^ UINT64_C(0x3333333333333333));
        if (is_seen(s, print)) {
            event = event->after;
            continue;
        }
        if (!note_seen(s, print))
            return REGISTER_NO_MEMORY;
        take(s, event, false);
        event = s->head.after;
    }
    return REGISTER_GOOD;
}

/* ---- what is known beforehand */
typedef struct {
    uint64_t value;
    uint32_t op;
} Value;

static int by_start(const void *a, const void *b)
{
    const RegisterOp *x = a, *y = b;

    if (x->start_ns != y->start_ns)
        return x->start_ns < y->start_ns ? -1 : 1;
    if (x->end_ns != y->end_ns)
        return x->end_ns < y->end_ns ? -1 : 1;
    return x->value < y->value ? -1 : x->value > y->value;
}

static int by_value(const void *a, const void *b)
{
    const Value *x = a, *y = b;

    if (x->value != y->value)
        return x->value < y->value ? -1 : 1;
    return x->op < y->op ? -1 : x->op > y->op;
}

/* One group: @count operations with the same value. */
static void narrow_group(Search *s, RegisterOp *ops, const Value *values, size_t count, uint32_t group, bool *skip)
{
    uint64_t first_read_end_ns = REGISTER_OPEN;
    unsigned writes = values[0].value == 0; /* the first value was there before */
    uint32_t write = UINT32_MAX;

    for (size_t i = 0; i < count; i++) {
        const RegisterOp *op = &ops[values[i].op];
        s->op_group[values[i].op] = group;
        if (op->write) {
            writes++;
            write = values[i].op;
        } else {
            s->reads_left[group]++;
            if (op->end_ns < first_read_end_ns)
                first_read_end_ns = op->end_ns;
        }
    }
    s->once[group] = writes <= 1;
    if (writes != 1 || write == UINT32_MAX)
        return;
    if (ops[write].end_ns == REGISTER_OPEN && s->reads_left[group] == 0)
        skip[write] = true;
    else if (first_read_end_ns < ops[write].end_ns && first_read_end_ns >= ops[write].start_ns)
        ops[write].end_ns = first_read_end_ns;
}

/* Which operations have the same value; writes of values that are written once: see the top of the header. False: no memory. */
static bool narrow(Search *s, RegisterOp *ops, size_t count, bool *skip)
{
    Value *values = calloc(count + 1, sizeof *values);
    uint32_t groups = 0;

    if (values == NULL)
        return false;
    for (uint32_t i = 0; i < count; i++)
        values[i] = (Value){ .value = ops[i].value, .op = i };
    qsort(values, count, sizeof *values, by_value);
    s->group = (uint32_t) count; /* no group's: nobody reads it */
    for (size_t first = 0, end; first < count; first = end, groups++) {
        for (end = first; end < count && values[end].value == values[first].value; end++)
            continue;
        if (values[first].value == 0)
            s->group = groups;
        narrow_group(s, ops, values + first, end - first, groups, skip);
    }
    free(values);
    return true;
}

/* Changes @ops. */
static RegisterVerdict check(RegisterOp *ops, size_t count)
{
    Search s = { .ops = ops, .seen_room = 1024 };
    RegisterVerdict verdict = REGISTER_NO_MEMORY;
    bool *skip = calloc(count + 1, sizeof *skip);

    s.steps = calloc(count + 1, sizeof *s.steps);
    s.seen = calloc(s.seen_room, sizeof *s.seen);
    s.op_group = calloc(count + 1, sizeof *s.op_group);
    s.reads_left = calloc(count + 1, sizeof *s.reads_left);
    s.once = calloc(count + 1, sizeof *s.once);
    if (skip && s.steps && s.seen && s.op_group && s.reads_left && s.once && narrow(&s, ops, count, skip) &&
        make_events(&s, count, skip))
        verdict = search(&s);
    free(s.seen);
    free(s.steps);
    free(s.op_group);
    free(s.reads_left);
    free(s.once);
    free(s.events);
    free(skip);
    return verdict;
}

/* What was known at @until_ns: what had not been called is not there, writes that had not returned are open. */
static RegisterVerdict check_until(const RegisterOp *ops, size_t count, uint64_t until_ns, RegisterOp *part)
{
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        if (ops[i].start_ns > until_ns || (!ops[i].write && ops[i].end_ns > until_ns))
            continue;
        part[n] = ops[i];
        if (part[n].end_ns > until_ns)
            part[n].end_ns = REGISTER_OPEN;
        n++;
    }
    return check(part, n);
}

static int by_number(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *) a, y = *(const uint64_t *) b;

    return x < y ? -1 : x > y;
}

/* A history that is bad stays bad whatever follows: so the first bad return is found by halving. */
static uint64_t find_first_bad(const RegisterOp *ops, size_t count, RegisterOp *part)
{
    uint64_t *ends = calloc(count + 1, sizeof *ends), result;
    size_t n = 0, low = 0, high;

    if (ends == NULL)
        return 0;
    for (size_t i = 0; i < count; i++) {
        if (ops[i].end_ns != REGISTER_OPEN)
            ends[n++] = ops[i].end_ns;
    }
    qsort(ends, n, sizeof *ends, by_number);
    high = n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (check_until(ops, count, ends[middle], part) == REGISTER_BAD)
            high = middle;
        else
            low = middle + 1;
    }
    result = low < n ? ends[low] : 0;
    free(ends);
    return result;
}

RegisterVerdict register_check(RegisterOp *ops, size_t count, uint64_t *ret_first_bad_ns)
{
    RegisterOp *part = calloc(count + 1, sizeof *part);
    RegisterVerdict verdict = REGISTER_NO_MEMORY;

    if (count > 0)
        qsort(ops, count, sizeof *ops, by_start);
    if (part != NULL) {
        memcpy(part, ops, count * sizeof *ops);
        verdict = check(part, count);
        if (verdict == REGISTER_BAD)
            *ret_first_bad_ns = find_first_bad(ops, count, part);
    }
    free(part);
    return verdict;
}
