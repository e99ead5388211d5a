/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A connection that is not a peer yet: from accept or connect to the end of hello. All of them live on one loop of their own (the
 * door), so that strangers never delay those who are known; who has said hello is handed on with its TLS session.
 *
 *   state       waits for                          then
 *   connecting  TCP (who dials)                    shaking
 *   shaking     TLS                                hello; stranger, if there is no certificate and joining is allowed
 *   hello       the other's hello                  met (who dialled); flushing (who answers)
 *   flushing    our hello to be in the kernel      met
 *   stranger    a request to join                  joining
 *   joining     the owner's answer                 parting
 *   parting     the last message to be sent        ended
 *
 * The whole takes VV_GREETING_MS, joining VV_JOIN_MS. A frame that does not belong there, or is longer than what does, ends it without
 * a word; who has a certificate of the pool is told why it is refused. */
#ifndef VV_GREET_H
#define VV_GREET_H

#include "joining.h"
#include "peer.h"

typedef struct VvGreeting VvGreeting;
typedef struct VvJoin VvJoin;

typedef struct {
    /* Somebody who dialled us said @theirs, agrees in version, features and pool, and is who its certificate says. Complete @ours (its
     * purpose, channel and to are filled in). False: refuse, with *ret_reason (VvGoodbyeReason). */
    bool (*heard)(VvGreeting *greeting, const VvHello *theirs, const VvIdentity *identity, VvHello *ours,
        unsigned *ret_reason, GError **error, void *user);
    /* Hellos are exchanged: all of @met but loop, times, events and user is filled in; ssl and carry are the receiver's. The
     * greeting goes when this returns. */
    void (*met)(VvGreeting *greeting, VvPeerOptions *met, void *user);
    /* It came to nothing; the greeting goes when this returns. */
    void (*ended)(VvGreeting *greeting, const char *why, void *user);
    /* A stranger asks to join: the reference is the receiver's. */
    void (*join)(VvJoin *join, void *user);
} VvGreetingEvents;

/* All on the door's thread. @hello: what all of ours have in common. */
VvGreeting *vv_greeting_accept(VvPeerLoop *door, VvTls *tls, int fd, const VvAddress *address, bool strangers,
    const VvHello *hello, uint64_t limit_ms, const VvGreetingEvents *events, void *user);
/* @hello: complete, with to, purpose, channel and dial. */
VvGreeting *vv_greeting_dial(VvPeerLoop *door, VvTls *tls, const VvAddress *address, const VvHello *hello,
    uint64_t limit_ms, const VvGreetingEvents *events, void *user);
/* End it now, without ended(). */
void vv_greeting_cancel(VvGreeting *greeting);
const VvAddress *vv_greeting_address(const VvGreeting *greeting);
bool vv_greeting_dialled(const VvGreeting *greeting);
/* Is it a stranger's, or not known yet? */
bool vv_greeting_is_strange(const VvGreeting *greeting);
/* Whose certificate it has shown; 0: nobody's yet, or it has none. */
uint64_t vv_greeting_node(const VvGreeting *greeting);
bool vv_greeting_is_joining(const VvGreeting *greeting);
/* It was, and the pool took it: its connection ends as it should. */
bool vv_greeting_is_let_in(const VvGreeting *greeting);
/* Of a goodbye that was said or heard (VvGoodbyeReason, or a later one's); 0: none. */
unsigned vv_greeting_reason(const VvGreeting *greeting);

/* ---- a request to join; any thread */
const VvJoinRequest *vv_join_request(const VvJoin *join);
const VvAddress *vv_join_address(const VvJoin *join);
/* Did who asks know the secret that belongs to @verifier? */
bool vv_join_proves(const VvJoin *join, const uint8_t verifier[VV_VERIFIER_BYTES]);
/* Answer and drop the reference. */
void vv_join_accept(VvJoin *join, const VvJoined *joined);
void vv_join_refuse(VvJoin *join, const GError *why);

#endif
