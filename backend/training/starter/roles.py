"""Where the networks of an exported starter lie in its folder: the published names, without suffix."""

ROLES = {
    "sparse_structure_decoder": "ckpts/ss_dec_conv3d_16l8",
    "sparse_structure_flow_model": "ckpts/ss_flow_img_dit_16l8",
    "slat_decoder_mesh": "ckpts/slat_dec_mesh_swin8_32l8m128c",
    "slat_decoder_gs": "ckpts/slat_dec_gs_swin8_32l8gs8",
    "slat_flow_model": "ckpts/slat_flow_img_dit_32l8p2",
}
ENCODERS = {"structure": "ckpts/ss_enc_conv3d_16l8", "latent": "ckpts/slat_enc_swin8_32l8"}
IMAGE_ENCODER = "ckpts/image_encoder"
