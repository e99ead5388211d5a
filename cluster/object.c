/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Requests on objects whose disks another node has: layouts in object.h. */
#include "object.h"

#include "codec.h"
#include "error.h"

#include <errno.h>

static const int results[] = { 0, EIO, ENOSPC, EROFS, EUCLEAN, ENODATA, ENOMEM, ETIMEDOUT, EINVAL, ESTALE, ESHUTDOWN, ENOENT, EBUSY, EINTR,
    ENXIO, EACCES, EPERM, ENFILE };

#define HANDLE 1u
#define OFFSET 2u
#define LENGTH 4u
#define PID 8u
#define NUMBER 16u
/* What an operation has besides its object: the other fields are 0. */
static const struct {
    uint8_t flags, fields;
} operations[VV_OBJECT_OPS] = {
    [VV_OBJECT_OPEN] = { VV_OBJECT_WRITE | VV_OBJECT_AGAIN, HANDLE | PID },
    [VV_OBJECT_CLOSE] = { 0, HANDLE },
    [VV_OBJECT_READ] = { 0, OFFSET | LENGTH },
    [VV_OBJECT_WRITE_DATA] = { 0, OFFSET | LENGTH | NUMBER },
    [VV_OBJECT_FLUSH] = { 0, 0 },
    [VV_OBJECT_ZERO] = { 0, OFFSET | LENGTH | NUMBER },
    [VV_OBJECT_ALLOCATE] = { 0, OFFSET | LENGTH | NUMBER },
    [VV_OBJECT_SEEK] = { VV_OBJECT_DATA, OFFSET },
    [VV_OBJECT_TRUNCATE] = { 0, LENGTH | NUMBER },
    [VV_OBJECT_EXTEND] = { 0, LENGTH | NUMBER },
    [VV_OBJECT_INTERRUPT] = { 0, NUMBER },
};

static bool refuse(GError **error, const char *what, const char *why)
{
    vv_set_error(error, VV_ERROR_DAMAGED, NULL, NULL, "%s is not one: %s", what, why);
    return false;
}

static bool is_zero(const uint8_t *bytes, size_t length_bytes)
{
    for (size_t i = 0; i < length_bytes; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

void vv_object_ask_encode(const VvObjectAsk *ask, uint8_t ret_raw[VV_OBJECT_ASK_BYTES])
{
    memset(ret_raw, 0, VV_OBJECT_ASK_BYTES);
    ret_raw[0] = (uint8_t) ask->op;
    ret_raw[1] = ask->flags;
    g_assert(ask->number <= VV_OBJECT_NUMBER_MAX);
    for (unsigned i = 0; i < 6; i++)
        ret_raw[2 + i] = (uint8_t) (ask->number >> 8 * i);
    vv_put_u64(ret_raw + 8, ask->object);
    vv_put_u64(ret_raw + 16, ask->handle);
    vv_put_u64(ret_raw + 24, ask->offset_bytes);
    vv_put_u64(ret_raw + 32, ask->length_bytes);
    vv_put_u64(ret_raw + 40, ask->op == VV_OBJECT_OPEN ? ask->pid : ask->origin);
}

static const char *find_fault(const VvObjectAsk *ask, uint32_t data_bytes)
{
    bool moves = ask->op == VV_OBJECT_READ || ask->op == VV_OBJECT_WRITE_DATA;
    unsigned fields;

    if (ask->op < VV_OBJECT_OPEN || ask->op >= VV_OBJECT_OPS)
        return "its operation is unknown";
    fields = operations[ask->op].fields;
    if ((ask->flags & ~operations[ask->op].flags) != 0)
        return "its operation has no such flag";
    if ((!(fields & HANDLE) && ask->handle != 0) || (!(fields & OFFSET) && ask->offset_bytes != 0) ||
        (!(fields & LENGTH) && ask->length_bytes != 0) || (!(fields & PID) && ask->pid != 0) || (!(fields & NUMBER) && (ask->origin != 0 || ask->number != 0)))
        return "its operation has no such field";
    if ((fields & HANDLE) && ask->handle == 0)
        return "it names no handle";
    if (ask->length_bytes > INT64_MAX || ask->offset_bytes > INT64_MAX - ask->length_bytes)
        return "it goes past the end of any object";
    if (ask->op == VV_OBJECT_INTERRUPT && ask->number == 0)
        return "it names no request";
    if (ask->pid > INT32_MAX)
        return "no process has such a number";
    if (moves && (ask->length_bytes == 0 || ask->length_bytes > VV_IO_BYTES_MAX))
        return "its length is out of range";
    if (data_bytes != (ask->op == VV_OBJECT_WRITE_DATA ? ask->length_bytes : 0))
        return "its data is not as long as it says";
    return NULL;
}

bool vv_object_ask_decode(
    const uint8_t *body, uint32_t body_bytes, uint32_t data_bytes, VvObjectAsk *ret_ask, GError **error)
{
    static const char what[] = "a request on an object";
    VvObjectAsk ask;
    const char *fault;

    if (body_bytes != VV_OBJECT_ASK_BYTES)
        return refuse(error, what, "its form is wrong");
    ask = (VvObjectAsk){
        .op = (VvObjectOp) body[0],
        .flags = body[1],
        .object = vv_get_u64(body + 8),
        .handle = vv_get_u64(body + 16),
        .offset_bytes = vv_get_u64(body + 24),
        .length_bytes = vv_get_u64(body + 32),
    };
    *(ask.op == VV_OBJECT_OPEN ? &ask.pid : &ask.origin) = vv_get_u64(body + 40);
    for (unsigned i = 0; i < 6; i++)
        ask.number |= (uint64_t) body[2 + i] << 8 * i;
    fault = find_fault(&ask, data_bytes);
    if (fault)
        return refuse(error, what, fault);
    *ret_ask = ask;
    return true;
}

void vv_object_answer_encode(const VvObjectAnswer *answer, uint8_t ret_raw[VV_OBJECT_ANSWER_BYTES])
{
    memset(ret_raw, 0, VV_OBJECT_ANSWER_BYTES);
    ret_raw[0] = answer->result == 0 ? 0 : 1;
    for (uint8_t i = 1; i < G_N_ELEMENTS(results); i++)
        if (answer->result == -results[i])
            ret_raw[0] = i;
    ret_raw[1] = (uint8_t) ((answer->is_lun ? 1 : 0) | (answer->elastic ? 2 : 0));
    vv_put_u64(ret_raw + 8, answer->value);
    vv_put_u64(ret_raw + 16, answer->incarnation);
    vv_put_u64(ret_raw + 24, answer->size_bytes);
    vv_put_u64(ret_raw + 32, answer->mtime_ns);
    vv_put_u64(ret_raw + 40, answer->used_bytes);
    vv_put_u64(ret_raw + 48, answer->applied);
}

static const char *find_fault_of_answer(const VvObjectAnswer *answer, const VvObjectAsk *ask, uint32_t data_bytes)
{
    bool done = answer->result == 0;
    bool moves = ask->op == VV_OBJECT_READ || ask->op == VV_OBJECT_WRITE_DATA;

    if (moves && answer->value > ask->length_bytes)
        return "it is of more bytes than were asked for";
    if ((!done || (!moves && ask->op != VV_OBJECT_SEEK)) && answer->value != 0)
        return "there is nothing that its value could be";
    if (answer->value > INT64_MAX || answer->size_bytes > INT64_MAX)
        return "no object is so large";
    if (data_bytes != (done && ask->op == VV_OBJECT_READ ? answer->value : 0))
        return "its data is not as long as it says";
    return NULL;
}

bool vv_object_answer_decode(const uint8_t *body, uint32_t body_bytes, uint32_t data_bytes, const VvObjectAsk *ask,
    VvObjectAnswer *ret_answer, GError **error)
{
    static const char what[] = "an answer on an object";
    VvObjectAnswer answer;
    const char *fault;

    if (body_bytes != VV_OBJECT_ANSWER_BYTES || body[1] > 3 || !is_zero(body + 2, 6))
        return refuse(error, what, "its form is wrong");
    answer = (VvObjectAnswer){
        .result = body[0] < G_N_ELEMENTS(results) ? -results[body[0]] : -EIO,
        .is_lun = (body[1] & 1) != 0,
        .elastic = (body[1] & 2) != 0,
        .value = vv_get_u64(body + 8),
        .incarnation = vv_get_u64(body + 16),
        .size_bytes = vv_get_u64(body + 24),
        .mtime_ns = vv_get_u64(body + 32),
        .used_bytes = vv_get_u64(body + 40),
        .applied = vv_get_u64(body + 48),
    };
    fault = find_fault_of_answer(&answer, ask, data_bytes);
    if (fault)
        return refuse(error, what, fault);
    *ret_answer = answer;
    return true;
}
