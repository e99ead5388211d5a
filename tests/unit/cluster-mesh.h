/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nodes of a test's pool on the loopback interface: what their meshes told, and waiting for it. */
#ifndef VV_CLUSTER_MESH_TEST_H
#define VV_CLUSTER_MESH_TEST_H

#include "cluster-test.h"
#include "error.h"
#include "mesh.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>

#define TEST_NODES 4u
#define TEST_KIND 0x0300u /* above those of message.h */

typedef struct {
    uint64_t id;
    const char *name;
    unsigned port; /* of the first life, kept */
    VvMesh *mesh;
    pthread_mutex_t lock; /* guards the rest */
    pthread_cond_t changed;
    unsigned up[TEST_NODES + 1], down[TEST_NODES + 1];           /* control, by id of the other */
    unsigned data_up[TEST_NODES + 1], data_down[TEST_NODES + 1]; /* data */
    unsigned messages, replies, joins;
    unsigned forbidden;  /* messages of kinds that no guest may send */
    unsigned thrown_out; /* guests */
    unsigned busy_joins; /* so many more are told that it is busy */
    bool guest;          /* its certificate, from its next start on */
    unsigned guests;     /* bits of those that its table has as guests (bit 0: n1) */
    bool bad_order; /* a second up without a down between */
    GString *troubles;
    GHashTable *used; /* of joins: invite -> key id */
    const uint8_t *verifier;
    const TestPool *pool;
    uint64_t next_id;
} TestNode;

typedef struct {
    TestPool *pool;
    unsigned count;
    TestNode nodes[TEST_NODES];
} TestMesh;

extern uint64_t test_greeting_ms; /* of nodes that are started from now on */
/* (Again) with the certificate of node @id; @listen NULL: the loopback address. */
void test_node_start(TestMesh *test, unsigned index, uint64_t id, const char *listen);
void test_node_end(TestNode *node);
/* Nodes n1 to n@count, which do not know of each other. */
TestMesh *test_mesh_new(unsigned count);
/* Everything that came up has gone down again, in order. */
void test_mesh_free(TestMesh *test);
/* Tell node @index of the nodes whose bits are set in @who (bit 0: n1). */
void test_introduce(TestMesh *test, unsigned index, unsigned who);
void test_introduce_all(TestMesh *test);
/* Wait until *@counter, one of @node's, is at least @value; 20 s are for ever. */
void test_await(TestNode *node, const unsigned *counter, unsigned value);
/* ... until there was a trouble with @text. */
void test_await_trouble(TestNode *node, const char *text);
/* ... until a control connection to @other is there and takes a message. */
void test_await_link(TestNode *node, uint64_t other);

#endif
